//! What the engine did, in a developer's words.

use millstream::QueryKey;
use millstream::client::{KeyStanding, Reason};
use millstream::key::Shape;
use millstream::trace::What;
use uuid::Uuid;

/// The end of an id: its beginning, a time, is what ids have in common.
fn tail(id: Uuid) -> String {
    let text = id.simple().to_string();
    text[text.len() - 8..].to_owned()
}

/// "sales_orders …1a2b3c4d", or with the list's parameters.
pub fn key(key: &QueryKey) -> String {
    match &key.shape {
        Shape::Record(id) => format!("{} …{}", key.table, tail(*id)),
        Shape::List(parameters) => format!("{} {parameters}", key.table),
        Shape::Unwatched(parameters) => format!("{}?{parameters}", key.table),
    }
}

pub fn standing(standing: KeyStanding) -> &'static str {
    match standing {
        KeyStanding::Fetching => "fetching",
        KeyStanding::Vouched => "vouched for",
        KeyStanding::Asked => "asked",
        KeyStanding::NotWatched => "not watched",
        KeyStanding::Idle => "idle",
        KeyStanding::Unvouched => "unvouched",
    }
}

pub fn reason(reason: Reason) -> String {
    match reason {
        Reason::FirstLook => "first look".to_owned(),
        Reason::Change(xid) => format!("stale by {}", xid.0),
        Reason::Changes => "stale, by more than is named".to_owned(),
        Reason::Rights => "rights changed".to_owned(),
        Reason::NotWatched => "watch refused".to_owned(),
        Reason::Undated => "absence without a stamp".to_owned(),
        Reason::Own(id) => format!("own change …{}", tail(id.0)),
        Reason::GivenUp(id) => format!("change given up …{}", tail(id.0)),
        Reason::Unclear => "answer before was unclear".to_owned(),
        Reason::Outdated => "its time is over".to_owned(),
        Reason::Invalidated => "invalidated by name".to_owned(),
        Reason::Failed => "attempt before failed".to_owned(),
        Reason::Asked => "asked by the person".to_owned(),
    }
}

/// What kind of thing happened, and what exactly.
pub fn what(what: &What) -> (&'static str, String) {
    match what {
        What::Told { xids, cursor } if xids.is_empty() => ("event", format!("stale up to {cursor}")),
        What::Told { xids, cursor } => {
            let xids: Vec<_> = xids.iter().map(|xid| xid.0.to_string()).collect();
            ("event", format!("stale by {}, cursor {cursor}", xids.join(", ")))
        }
        What::Connection(state) => ("connection", (*state).to_owned()),
        What::Fetch(because) => ("fetch", reason(*because)),
        What::Fetched(Some(stamp)) => ("answer", format!("read at {}", stamp.snapshot)),
        What::Fetched(None) => ("answer", "without a stamp".to_owned()),
        What::FetchFailed(why) => ("failure", why.clone()),
        What::Taken(Some(stamp)) => ("value", format!("not asked for here, read at {}", stamp.snapshot)),
        What::Taken(None) => ("value", "not asked for here".to_owned()),
        What::Painted => ("render", "painted".to_owned()),
        What::Sent(id, label) => ("send", format!("{label} (…{})", tail(id.0))),
        What::Answered(id, Some(xid)) => ("commit", format!("…{} by transaction {}", tail(id.0), xid.0)),
        What::Answered(id, None) => ("commit", format!("…{} changed nothing", tail(id.0))),
        What::Refused(id, why) => ("refusal", format!("…{}: {why}", tail(id.0))),
    }
}

pub fn bytes(bytes: usize) -> String {
    if bytes < 1_000 { format!("{bytes} B") } else { format!("{:.1} kB", bytes as f64 / 1_000.0) }
}

/// "3 s", "5 min".
pub fn age(milliseconds: u64) -> String {
    match milliseconds / 1_000 {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_told_in_the_measure_that_fits() {
        assert_eq!([bytes(999), bytes(1_234)], ["999 B", "1.2 kB"]);
        assert_eq!([age(59_999), age(60_000), age(7_200_000)], ["59 s", "1 min", "2 h"]);
    }
}
