//! The states of the live connection and what moves between them. Pure: time and chance are passed in.

use serde::{Deserialize, Serialize};

/// How the page is connected; `data-connection` on `<html>` carries its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The first attempt has not been answered yet.
    Connecting,
    Live,
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
            State::Reconnecting { .. } => "reconnecting",
            State::Disconnected => "disconnected",
            State::Offline => "offline",
            State::Refused => "refused",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server's first frame came.
    Hello,
    /// The socket closed, or was silent for too long.
    Lost,
    /// The server closed it because the session has ended.
    SessionEnded,
    NetworkGone,
    NetworkBack,
    /// The page is looked at again, or the person asked to try.
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
}

/// After so many failed attempts (about a minute and a half) it is the person's turn.
const ATTEMPTS: u32 = 12;
const FIRST_CEILING: u32 = 500;
const HIGHEST_CEILING: u32 = 15_000;

/// The next state, and what to do about it.
pub fn next(state: State, event: Event) -> (State, Action) {
    match (state, event) {
        (_, Event::SessionEnded) => (State::Refused, Action::Close),
        (State::Refused, _) => (State::Refused, Action::Nothing),
        (_, Event::NetworkGone) => (State::Offline, Action::Close),
        (_, Event::Hello) => (State::Live, Action::Nothing),
        // What was live comes back at once: most cuts are short. Only then does it become patient.
        (State::Live, Event::Lost) => (State::Reconnecting { failed: 0 }, Action::Open),
        (State::Connecting, Event::Lost) => lost_again(0),
        (State::Reconnecting { failed }, Event::Lost) => lost_again(failed),
        (State::Offline | State::Disconnected, Event::Lost) => (state, Action::Nothing),
        (State::Offline | State::Disconnected, Event::NetworkBack | Event::TryNow) => {
            (State::Reconnecting { failed: 0 }, Action::Open)
        }
        (State::Reconnecting { .. }, Event::TryNow | Event::NetworkBack) => {
            (State::Reconnecting { failed: 0 }, Action::Open)
        }
        (State::Live | State::Connecting, Event::NetworkBack | Event::TryNow) => (state, Action::Nothing),
    }
}

fn lost_again(failed: u32) -> (State, Action) {
    if failed >= ATTEMPTS {
        return (State::Disconnected, Action::Close);
    }
    let milliseconds = FIRST_CEILING.saturating_mul(1 << failed.min(16)).min(HIGHEST_CEILING);
    (State::Reconnecting { failed: failed + 1 }, Action::OpenWithin { milliseconds })
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
                Action::OpenWithin { milliseconds } => ceilings.push(milliseconds),
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
    fn no_attempt_is_made_without_a_network_and_one_at_once_when_it_is_back() {
        let (offline, action) = next(State::Live, Event::NetworkGone);
        assert_eq!((offline, action), (State::Offline, Action::Close));
        assert_eq!(next(offline, Event::Lost), (State::Offline, Action::Nothing));
        assert_eq!(next(offline, Event::NetworkBack), (State::Reconnecting { failed: 0 }, Action::Open));
    }

    #[test]
    fn nothing_brings_back_a_session_that_has_ended() {
        let (refused, _) = next(State::Live, Event::SessionEnded);
        for event in [Event::Lost, Event::NetworkBack, Event::TryNow, Event::Hello] {
            assert_eq!(next(refused, event).0, State::Refused);
        }
    }
}
