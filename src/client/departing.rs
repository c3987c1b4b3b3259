//! Which mutations may be sent now, and which of them go in one request.
//!
//! Mutations of one record are carried out in order: so they are in one request, in that order, or the later ones wait. A
//! request is carried out from its first mutation to its last, and ends where something passes by.

use super::Ticket;
use crate::overlay::MutationId;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// A request with more mutations than this takes the server a good part of a second, and nothing of it is heard before.
pub(super) const MOST_TOGETHER: usize = 50;
/// Requests under way at once: a browser has six connections to a server, and reads need some of them.
pub(super) const MOST_REQUESTS: usize = 4;

/// A mutation without an answer, in the order in which they were made.
pub(super) struct Candidate {
    pub(super) id: MutationId,
    pub(super) records: Vec<Uuid>,
    pub(super) standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    Ready,
    /// In the pause before it is tried again.
    Pausing,
    /// In this request.
    Sent(Ticket),
}

/// The requests that are to be made, each with its mutations in order.
pub(super) fn departing(open: impl IntoIterator<Item = Candidate>) -> Vec<Vec<MutationId>> {
    let open: Vec<_> = open.into_iter().collect();
    let under_way: HashSet<_> = open.iter().filter_map(|candidate| candidate.standing.request()).collect();
    let free = MOST_REQUESTS.saturating_sub(under_way.len());
    let mut requests: Vec<Vec<MutationId>> = Vec::new();
    // Records of mutations that go before, with the place of their request; of what waits or is under way, with none.
    let mut taken: HashMap<Uuid, Option<usize>> = HashMap::new();
    for Candidate { id, records, standing } in open {
        let before: HashSet<_> = records.iter().filter_map(|record| taken.get(record).copied()).collect();
        let last = requests.len().checked_sub(1);
        let has_room = last.is_some_and(|last| requests[last].len() < MOST_TOGETHER);
        let is_behind_last = before.iter().all(|place| place.is_some() && *place == last);
        let place = match standing {
            Standing::Pausing | Standing::Sent(_) => None,
            Standing::Ready if !is_behind_last => None,
            Standing::Ready if has_room => last,
            Standing::Ready if before.is_empty() && requests.len() < free => {
                requests.push(Vec::new());
                Some(requests.len() - 1)
            }
            Standing::Ready => None,
        };
        if let Some(place) = place {
            requests[place].push(id);
        }
        taken.extend(records.into_iter().map(|record| (record, place)));
    }
    requests
}

impl Standing {
    fn request(self) -> Option<Ticket> {
        match self {
            Standing::Sent(request) => Some(request),
            Standing::Ready | Standing::Pausing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Pausing, Ready, Sent};

    /// What goes of mutations with these records and standings, by their places.
    fn going(open: &[(&[u128], Standing)]) -> Vec<Vec<u128>> {
        let candidates = (0..).zip(open).map(|(place, (records, standing))| Candidate {
            id: MutationId(Uuid::from_u128(place)),
            records: records.iter().copied().map(Uuid::from_u128).collect(),
            standing: *standing,
        });
        let requests = departing(candidates);
        requests.into_iter().map(|request| request.into_iter().map(|id| id.0.as_u128()).collect()).collect()
    }

    #[test]
    fn what_is_ready_goes_together_and_in_order() {
        assert_eq!(going(&[(&[1], Ready), (&[1], Ready), (&[2], Ready), (&[1, 2], Ready)]), [[0, 1, 2, 3]]);
    }

    #[test]
    fn nothing_overtakes_an_earlier_one_on_its_record() {
        assert_eq!(going(&[(&[1], Sent(1)), (&[1], Ready), (&[2], Ready)]), [[2]]);
        assert_eq!(going(&[(&[1], Pausing), (&[1, 2], Ready), (&[2], Ready), (&[3], Ready)]), [[3]]);
    }

    #[test]
    fn a_request_has_a_bound_and_what_does_not_fit_waits_if_it_is_of_the_same_record() {
        let one_record: Vec<(&[u128], Standing)> = vec![(&[1], Ready); MOST_TOGETHER + 1];
        assert_eq!(going(&one_record).iter().map(Vec::len).collect::<Vec<_>>(), [MOST_TOGETHER]);
    }

    #[test]
    fn of_many_records_a_few_requests_are_under_way_at_once() {
        let numbers: Vec<[u128; 1]> = (0..1_000).map(|number| [number]).collect();
        let all: Vec<(&[u128], Standing)> = numbers.iter().map(|records| (&records[..], Ready)).collect();
        assert_eq!(going(&all).iter().map(Vec::len).collect::<Vec<_>>(), [MOST_TOGETHER; MOST_REQUESTS]);
        let others = [(&[2_000][..], Sent(1)), (&[2_001], Sent(2)), (&[2_002], Sent(2)), (&[2_003], Sent(3))];
        assert_eq!(going(&[&others[..], &all[..]].concat()).len(), MOST_REQUESTS - 3);
    }
}
