//! What processes over one database tell each other of who is connected to them: by `NOTIFY`, whose payloads are short. Pure.

use crate::key::{OrganizationId, PersonId};
use crate::wire::Place;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// PostgreSQL takes payloads of less than 8,000 bytes.
const LONGEST_PAYLOAD: usize = 7_900;

/// Some of what a process knows. One without anybody says only that it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(super) node: Uuid,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) here: Vec<Stated>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<(OrganizationId, PersonId)>,
}

/// Somebody is there, by the word of the tabs that are connected to the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stated {
    #[serde(rename = "in")]
    pub(super) organization: OrganizationId,
    pub(super) person: PersonId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
    /// So many milliseconds ago they turned to it.
    pub(super) ago: u32,
    /// So many milliseconds more it holds. It is not for the listener to begin anew: the last word was the tab's.
    pub(super) left: u32,
}

/// Cuts what is to be said into payloads. To be called under no lock: there may be thousands.
pub(super) fn payloads(Message { node, here, gone }: Message) -> Vec<String> {
    let mut payloads = Vec::new();
    let mut message = Message { node, here: Vec::new(), gone: Vec::new() };
    let empty = length(&message);
    let mut long = empty;
    let mut add = |piece: usize, put: &mut dyn FnMut(&mut Message)| {
        if long + piece > LONGEST_PAYLOAD {
            payloads.extend(serde_json::to_string(&message));
            (message.here, message.gone, long) = (Vec::new(), Vec::new(), empty);
        }
        long += piece;
        put(&mut message);
    };
    for stated in here {
        let mut stated = Some(stated);
        // With a comma, and the name of the list.
        let piece = length(&stated) + ",\"here\":[]".len();
        add(piece, &mut |message| message.here.extend(stated.take()));
    }
    for gone in gone {
        let piece = length(&gone) + ",\"gone\":[]".len();
        add(piece, &mut |message| message.gone.push(gone));
    }
    payloads.extend(serde_json::to_string(&message));
    payloads
}

fn length(what: &impl Serialize) -> usize {
    serde_json::to_string(what).map_or(0, |text| text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_fits_into_payloads_and_all_of_it_is_said() {
        let id = |number| Uuid::from_u128(u128::MAX - number);
        let organization = OrganizationId(id(1));
        let place =
            Place { table: "t".repeat(63), record: Some(id(2)), field: Some("\u{1}".repeat(64)), is_typing: true };
        let here: Vec<_> = (0..1_000)
            .map(|number| Stated {
                organization,
                person: PersonId(id(number)),
                place: (number % 3 > 0).then(|| place.clone()),
                ago: u32::MAX,
                left: u32::MAX,
            })
            .collect();
        let gone: Vec<_> = (0..1_000).map(|number| (organization, PersonId(id(number)))).collect();
        let payloads = payloads(Message { node: id(0), here: here.clone(), gone: gone.clone() });
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let heard: Vec<Message> =
            payloads.iter().map(|payload| serde_json::from_str(payload).expect("its own")).collect();
        assert_eq!(heard.iter().flat_map(|message| message.here.clone()).collect::<Vec<_>>(), here);
        assert_eq!(heard.iter().flat_map(|message| message.gone.clone()).collect::<Vec<_>>(), gone);
    }

    #[test]
    fn a_process_with_nothing_to_say_says_that_it_is_there() {
        let payloads = payloads(Message { node: Uuid::nil(), here: Vec::new(), gone: Vec::new() });
        assert_eq!(payloads, [r#"{"node":"00000000-0000-0000-0000-000000000000"}"#]);
    }
}
