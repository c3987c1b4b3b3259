//! The states of the live connection and what moves between them. Pure: time and chance are passed in.

use serde::{Deserialize, Serialize};

/// How the page is connected; `data-connection` on `<html>` carries its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The first attempt has not been answered yet.
    Connecting,
    Live,
    /// The server that held the connection goes, or begins anew, and has said so; another is being opened. That is nobody's
    /// trouble, so it is not shown.
    Moving,
    /// No socket gets through, but the server answers questions; so many of them have failed since.
    Polling {
        failed: u32,
    },
    /// Lost, and trying: so many attempts have failed.
    Reconnecting {
        failed: u32,
    },
    /// Lost, and no longer trying by itself: the person, or the network's return, starts again.
    Disconnected,
    /// The browser says that there is no network.
    Offline,
    /// The server does not want this person any more: nobody is signed in.
    Refused,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Live => "live",
            State::Moving => "moving",
            State::Polling { .. } => "polling",
            State::Reconnecting { .. } => "reconnecting",
            State::Disconnected => "disconnected",
            State::Offline => "offline",
            State::Refused => "refused",
        }
    }
}

impl State {
    /// How frames come; none where they do not. Another one is another connection: nothing is watched on it yet.
    pub fn way(self) -> Option<Way> {
        match self {
            State::Live => Some(Way::Socket),
            State::Polling { .. } => Some(Way::Questions),
            State::Connecting
            | State::Moving
            | State::Reconnecting { .. }
            | State::Disconnected
            | State::Offline
            | State::Refused => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Socket,
    Questions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The socket's first frame came.
    Hello,
    /// A question by HTTP was answered.
    Answered,
    /// A question by HTTP was not.
    Unanswered,
    /// The socket closed, or was silent for too long.
    Lost,
    /// The server closed it, for its clients to come back, to another server perhaps.
    SentElsewhere,
    /// The server closed it because the session has ended.
    SessionEnded,
    NetworkGone,
    NetworkBack,
    /// The page is looked at again, its clock has jumped, or the person asked to try.
    TryNow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    /// Open a socket now, in place of any that stands.
    Open,
    /// Close the socket and forget any attempt.
    Close,
    /// Open a socket after a random part of these milliseconds (full jitter: clients that were cut together come back
    /// spread out).
    OpenWithin {
        milliseconds: u32,
    },
    /// The same, and ask by HTTP now: sockets may be blocked where that is not.
    AskAndOpenWithin {
        milliseconds: u32,
    },
    /// Ask by HTTP now.
    Ask,
    /// Make sure that the socket is not dead without having said so.
    Check,
}

/// After so many failed attempts (about a minute and a half) it is the person's turn.
const ATTEMPTS: u32 = 12;
const FIRST_CEILING: u32 = 500;
const HIGHEST_CEILING: u32 = 15_000;
/// After so many failed attempts it is asked by HTTP beside them.
const PATIENCE: u32 = 3;
/// While it is asked by HTTP, a socket is tried within this time after the last attempt.
const SOCKET_AGAIN: u32 = 60_000;
/// One question may fail without much ado.
const UNANSWERED: u32 = 2;

/// The next state, and what to do about it.
pub fn next(state: State, event: Event) -> (State, Action) {
    match (state, event) {
        (_, Event::SessionEnded) => (State::Refused, Action::Close),
        (State::Refused, _) => (State::Refused, Action::Nothing),
        (_, Event::NetworkGone) => (State::Offline, Action::Close),
        (_, Event::Hello) => (State::Live, Action::Nothing),
        (State::Reconnecting { .. } | State::Polling { .. }, Event::Answered) => {
            (State::Polling { failed: 0 }, Action::Nothing)
        }
        (State::Polling { failed }, Event::Unanswered) if failed + 1 < UNANSWERED => {
            (State::Polling { failed: failed + 1 }, Action::Nothing)
        }
        (State::Polling { .. }, Event::Unanswered) => (State::Reconnecting { failed: 0 }, Action::Open),
        // Of a question that was overtaken: by a socket, or by the network's end.
        (_, Event::Answered | Event::Unanswered) => (state, Action::Nothing),
        // What was live comes back at once: most cuts are short. Only then does it become patient.
        (State::Live, Event::Lost) => (State::Reconnecting { failed: 0 }, Action::Open),
        (State::Live, Event::SentElsewhere) => (State::Moving, Action::Open),
        (_, Event::SentElsewhere) => next(state, Event::Lost),
        (State::Connecting | State::Moving, Event::Lost) => lost_again(0),
        (State::Reconnecting { failed }, Event::Lost) => lost_again(failed),
        (State::Offline | State::Disconnected, Event::Lost) => (state, Action::Nothing),
        (State::Offline | State::Disconnected, Event::NetworkBack | Event::TryNow) => {
            (State::Reconnecting { failed: 0 }, Action::Open)
        }
        (State::Reconnecting { .. }, Event::TryNow | Event::NetworkBack) => {
            (State::Reconnecting { failed: 0 }, Action::Open)
        }
        (State::Live, Event::NetworkBack | Event::TryNow) => (state, Action::Check),
        (State::Connecting | State::Moving, Event::NetworkBack | Event::TryNow) => (state, Action::Nothing),
        (State::Polling { .. }, Event::Lost) => (state, Action::OpenWithin { milliseconds: SOCKET_AGAIN }),
        (State::Polling { .. }, Event::TryNow) => (state, Action::Ask),
        // It may be another network, which lets sockets through.
        (State::Polling { .. }, Event::NetworkBack) => (state, Action::Open),
    }
}

fn lost_again(failed: u32) -> (State, Action) {
    if failed >= ATTEMPTS {
        return (State::Disconnected, Action::Close);
    }
    let milliseconds = FIRST_CEILING.saturating_mul(1 << failed.min(16)).min(HIGHEST_CEILING);
    let failed = failed + 1;
    let action =
        if failed < PATIENCE { Action::OpenWithin { milliseconds } } else { Action::AskAndOpenWithin { milliseconds } };
    (State::Reconnecting { failed }, action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_at_once_and_the_rest_ever_later_up_to_a_bound() {
        let (mut state, action) = next(State::Live, Event::Lost);
        assert_eq!(action, Action::Open);
        let mut ceilings = Vec::new();
        loop {
            let (after, action) = next(state, Event::Lost);
            state = after;
            match action {
                Action::OpenWithin { milliseconds } | Action::AskAndOpenWithin { milliseconds } => {
                    ceilings.push(milliseconds);
                }
                other => {
                    assert_eq!((state, other), (State::Disconnected, Action::Close));
                    break;
                }
            }
        }
        assert_eq!(ceilings[..6], [500, 1000, 2000, 4000, 8000, 15_000]);
        assert_eq!(ceilings.len(), ATTEMPTS as usize);
    }

    #[test]
    fn who_is_sent_elsewhere_comes_back_at_once_and_has_lost_nothing_unless_nobody_is_there() {
        let steps = run(State::Live, &[Event::SentElsewhere, Event::Hello]);
        assert_eq!(steps, [(State::Moving, Action::Open), (State::Live, Action::Nothing)]);
        let steps = run(State::Live, &[Event::SentElsewhere, Event::Lost]);
        assert_eq!(steps[1], (State::Reconnecting { failed: 1 }, Action::OpenWithin { milliseconds: FIRST_CEILING }));
        // Sent away by the one that was to take over: that is one attempt.
        let steps = run(State::Live, &[Event::SentElsewhere, Event::SentElsewhere]);
        assert_eq!(steps[1].0, State::Reconnecting { failed: 1 });
    }

    #[test]
    fn no_attempt_is_made_without_a_network_and_one_at_once_when_it_is_back() {
        let (offline, action) = next(State::Live, Event::NetworkGone);
        assert_eq!((offline, action), (State::Offline, Action::Close));
        assert_eq!(next(offline, Event::Lost), (State::Offline, Action::Nothing));
        assert_eq!(next(offline, Event::NetworkBack), (State::Reconnecting { failed: 0 }, Action::Open));
    }

    /// The first state, and after each of the events.
    fn run(from: State, events: &[Event]) -> Vec<(State, Action)> {
        let mut state = from;
        let step = |event: &Event| {
            let (after, action) = next(state, *event);
            state = after;
            (after, action)
        };
        events.iter().map(step).collect()
    }

    const POLLING: State = State::Polling { failed: 0 };

    #[test]
    fn where_no_socket_opens_it_is_asked_by_http_after_the_third_attempt() {
        let steps = run(State::Connecting, &[Event::Lost, Event::Lost, Event::Lost, Event::Answered]);
        let asks = |action: &Action| matches!(action, Action::AskAndOpenWithin { .. });
        assert_eq!(steps.iter().map(|(_, action)| asks(action)).collect::<Vec<_>>(), [false, false, true, false]);
        assert_eq!(steps[3], (POLLING, Action::Nothing), "the next attempt at a socket stands");
        assert_eq!((steps[2].0.way(), steps[3].0.way()), (None, Some(Way::Questions)));
    }

    #[test]
    fn while_it_is_asked_by_http_sockets_are_tried_now_and_then_until_one_opens() {
        let steps = run(POLLING, &[Event::Lost, Event::Lost, Event::Hello]);
        assert_eq!(steps[0], (POLLING, Action::OpenWithin { milliseconds: SOCKET_AGAIN }));
        assert_eq!(steps[0], steps[1]);
        assert_eq!(steps[2], (State::Live, Action::Nothing));
        assert_eq!(next(State::Live, Event::Answered), (State::Live, Action::Nothing), "that one was overtaken");
        assert_eq!(next(State::Live, Event::Unanswered), (State::Live, Action::Nothing));
    }

    #[test]
    fn one_question_without_an_answer_is_forgiven_two_are_a_lost_connection() {
        let steps = run(POLLING, &[Event::Unanswered, Event::Answered, Event::Unanswered, Event::Unanswered]);
        let ways: Vec<_> = steps.iter().map(|(state, _)| state.way().is_some()).collect();
        assert_eq!(ways, [true, true, true, false]);
        assert_eq!(steps[3], (State::Reconnecting { failed: 0 }, Action::Open));
    }

    #[test]
    fn no_answer_makes_a_way_where_there_is_no_network_or_nobody_signed_in() {
        for state in [State::Offline, State::Refused, State::Disconnected] {
            assert_eq!(next(state, Event::Answered), (state, Action::Nothing));
        }
        assert_eq!(next(POLLING, Event::NetworkGone), (State::Offline, Action::Close));
        assert_eq!(next(POLLING, Event::SessionEnded), (State::Refused, Action::Close));
    }

    #[test]
    fn who_comes_back_to_the_page_finds_out_at_once_whether_the_connection_stands() {
        assert_eq!(next(State::Live, Event::TryNow), (State::Live, Action::Check));
        assert_eq!(next(State::Live, Event::NetworkBack), (State::Live, Action::Check));
        assert_eq!(next(POLLING, Event::TryNow), (POLLING, Action::Ask));
        assert_eq!(next(POLLING, Event::NetworkBack), (POLLING, Action::Open));
    }

    #[test]
    fn nothing_brings_back_a_session_that_has_ended() {
        let (refused, _) = next(State::Live, Event::SessionEnded);
        for event in [Event::Lost, Event::NetworkBack, Event::TryNow, Event::Hello] {
            assert_eq!(next(refused, event).0, State::Refused);
        }
    }
}
