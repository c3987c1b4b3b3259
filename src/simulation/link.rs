//! A live connection between a page and whatever speaks the server's protocol: two queues that keep their order, until
//! it is cut. Neither end knows what the other is.

use crate::hub::Close;
use crate::wire::{ClientFrame, ServerFrame};
use std::collections::VecDeque;

pub(super) type LinkId = usize;

#[derive(Default)]
pub(super) struct Link {
    up: VecDeque<ClientFrame>,
    down: VecDeque<Down>,
    is_cut: bool,
}

pub(super) enum Down {
    Frame(ServerFrame),
    Closed(Close),
}

impl Link {
    /// What is under way is lost; each end notices when it does.
    pub(super) fn cut(&mut self) {
        *self = Self { is_cut: true, ..Self::default() };
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn ask(&mut self, frame: ClientFrame) {
        if !self.is_cut {
            self.up.push_back(frame);
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
        self.down.pop_front()
    }
}
