//! A live connection between a page and whatever speaks the server's protocol: two queues that keep their order, until
//! it is cut. Neither end knows what the other is.

use super::questions::Questions;
use crate::hub::Close;
use crate::key::PersonId;
use crate::wire::{ClientFrame, ServerFrame};
use std::collections::VecDeque;

pub(super) type LinkId = usize;

#[derive(Default)]
pub(super) struct Link {
    up: VecDeque<ClientFrame>,
    down: VecDeque<Down>,
    is_cut: bool,
    /// Where no socket gets through.
    questions: Option<Questions>,
}

pub(super) enum Down {
    Frame(ServerFrame),
    Closed(Close),
}

impl Link {
    /// One without a socket. The page takes the first answer for a connection that stands.
    pub(super) fn of_questions(person: PersonId) -> Self {
        let down = VecDeque::from([Down::Frame(ServerFrame::Hello { person })]);
        Self { down, questions: Some(Questions::of(person)), ..Self::default() }
    }

    /// What is asked, where there is anything to be asked: the page hears one answer before it asks again.
    pub(super) fn questions(&self) -> Option<&Questions> {
        self.questions.as_ref().filter(|_| self.down.is_empty())
    }

    pub(super) fn questions_mut(&mut self) -> Option<&mut Questions> {
        self.questions.as_mut()
    }

    /// What is under way is lost; each end notices when it does.
    pub(super) fn cut(&mut self) {
        *self = Self { is_cut: true, ..Self::default() };
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn ask(&mut self, frame: ClientFrame) {
        match &mut self.questions {
            _ if self.is_cut => {}
            Some(questions) => questions.said(frame),
            None => self.up.push_back(frame),
        }
    }

    pub(super) fn tell(&mut self, down: Down) {
        if !self.is_cut {
            self.down.push_back(down);
        }
    }

    pub(super) fn has_asked(&self) -> bool {
        !self.up.is_empty()
    }

    pub(super) fn has_told(&self) -> bool {
        !self.down.is_empty()
    }

    pub(super) fn asked(&mut self) -> Option<ClientFrame> {
        self.up.pop_front()
    }

    pub(super) fn told(&mut self) -> Option<Down> {
        let told = self.down.pop_front();
        if let (Some(Down::Frame(frame)), Some(questions)) = (&told, &mut self.questions) {
            questions.heard(frame);
        }
        told
    }
}
