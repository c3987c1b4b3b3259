//! What is read of a frame while it is measured: a search for the few names that matter, no tree. A sample of what was
//! searched is read again, fully, when the measure is over (`check`).

use crate::Outcome;
use millstream::wire::ServerFrame;
use std::cell::Cell;

/// What a frame says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said<'a> {
    pub(crate) cursor: Option<&'a str>,
    pub(crate) epoch: Option<&'a str>,
    /// Watch number and transaction; 0 where none is named.
    pub(crate) stale: Vec<(u32, u64)>,
    pub(crate) watching: usize,
    pub(crate) refused: usize,
    /// A `rights` frame.
    pub(crate) is_rights: bool,
    /// Milliseconds over which reads are to be spread.
    pub(crate) spread: u64,
}

/// Reads the frame into `said`, whose room is used again.
pub(crate) fn scan<'a>(text: &'a str, said: &mut Said<'a>) {
    said.stale.clear();
    (said.cursor, said.epoch, said.watching, said.refused, said.spread) = (None, None, 0, 0, 0);
    said.is_rights = text.starts_with(r#"{"type":"rights""#);
    let Some(rest) = text.strip_prefix(r#"{"type":"tick","cursor":""#) else { return };
    let Some((cursor, rest)) = rest.split_once(r#"","epoch":""#) else { return };
    let Some((epoch, mut rest)) = rest.split_once('"') else { return };
    (said.cursor, said.epoch) = (Some(cursor), Some(epoch));
    if let Some(list) = rest.strip_prefix(r#","stale":["#) {
        rest = stale(list, &mut said.stale);
    }
    if let Some(list) = rest.strip_prefix(r#","watching":["#) {
        let (numbers, after) = list.split_once(']').unwrap_or((list, ""));
        said.watching = 1 + numbers.bytes().filter(|byte| *byte == b',').count();
        rest = after;
    }
    if rest.starts_with(r#","refused":["#) {
        said.refused = rest.matches(r#"{"number":"#).count();
    }
    // The last field.
    said.spread = rest.rsplit_once(r#","spread":"#).map_or(0, |(_, number)| digits(number).0);
}

/// Reads `{"number":3,"xids":[7]},{"number":4}]` and gives what comes after it.
fn stale<'a>(mut rest: &'a str, into: &mut Vec<(u32, u64)>) -> &'a str {
    loop {
        let Some(item) = rest.strip_prefix(r#"{"number":"#) else { return rest };
        let (number, after) = digits(item);
        rest = after;
        match rest.strip_prefix(r#","xids":["#) {
            Some(mut list) => loop {
                let (xid, after) = digits(list);
                into.push((u32::try_from(number).unwrap_or(u32::MAX), xid));
                match after.strip_prefix(',') {
                    Some(more) => list = more,
                    None => {
                        rest = after.strip_prefix(']').unwrap_or(after);
                        break;
                    }
                }
            },
            None => into.push((u32::try_from(number).unwrap_or(u32::MAX), 0)),
        }
        rest = rest.strip_prefix('}').unwrap_or(rest);
        match rest.strip_prefix(',') {
            Some(more) if more.starts_with('{') => rest = more,
            _ => return rest.strip_prefix(']').unwrap_or(rest),
        }
    }
}

/// Frames alike but for the transaction that they name, each time another; made after a frame of one event, and as long.
#[derive(Clone)]
pub(crate) struct Pattern {
    /// The watch number that they name.
    pub(crate) number: u32,
    before: String,
    after: String,
    /// The least number that is as long as the frame's own.
    least: u64,
    next: Cell<u64>,
}

impl Pattern {
    /// None where the frame tells of something else than one event.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut said = Said::default();
        scan(text, &mut said);
        let &[(number, xid @ 1..)] = said.stale.as_slice() else { return None };
        let (before, after) = text.split_once(&format!(r#""xids":[{xid}]"#))?;
        let least = 10_u64.pow(xid.ilog10());
        Some(Self { number, before: before.to_owned(), after: after.to_owned(), least, next: Cell::new(least) })
    }

    /// A frame and the transaction that it names. They come again when all that are as long have been.
    pub(crate) fn next(&self) -> (u64, String) {
        let xid = self.next.get();
        self.next.set(if xid + 1 < self.least * 10 { xid + 1 } else { self.least });
        (xid, format!(r#"{}"xids":[{xid}]{}"#, self.before, self.after))
    }
}

fn digits(text: &str) -> (u64, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().unwrap_or(0), &text[end..])
}

/// Reads the frame as a client does, and compares that with what the search found.
///
/// # Errors
/// Where it is no frame of the protocol, or the search found something else in it.
pub(crate) fn check(text: &str) -> Outcome {
    let mut found = Said::default();
    scan(text, &mut found);
    let frame: ServerFrame = serde_json::from_str(text).map_err(|why| format!("{why} in the frame {text}"))?;
    let mut read = Said::default();
    let (cursor, epoch): (String, String);
    match frame {
        ServerFrame::Tick(tick) => {
            (cursor, epoch) = (tick.cursor.to_string(), tick.epoch.0.to_string());
            (read.cursor, read.epoch) = (Some(cursor.as_str()), Some(epoch.as_str()));
            for stale in tick.stale {
                match stale.xids.as_slice() {
                    [] => read.stale.push((stale.number, 0)),
                    xids => read.stale.extend(xids.iter().map(|xid| (stale.number, xid.0))),
                }
            }
            (read.watching, read.refused) = (tick.watching.len(), tick.refused.len());
            read.spread = tick.spread.into();
        }
        ServerFrame::Rights { .. } => read.is_rights = true,
        _ => {}
    }
    if read != found {
        return Err(format!("the search found {found:?} where the frame says {read:?}: {text}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Said, check, scan};

    #[test]
    fn the_search_finds_what_a_reader_finds() {
        let epoch = r#""epoch":"00000000-0000-0000-0000-000000000001""#;
        for frame in [
            format!(r#"{{"type":"tick","cursor":"7:9:8",{epoch}}}"#),
            format!(r#"{{"type":"tick","cursor":"7:9:8",{epoch},"stale":[{{"number":3,"xids":[7]}}]}}"#),
            format!(
                r#"{{"type":"tick","cursor":"7:9:8",{epoch},"stale":[{{"number":3,"xids":[7,8]}},{{"number":4}},{{"number":5,"xids":[9]}}],"watching":[1,2,3],"refused":[{{"number":2,"error":{{"kind":"forbidden","message":"no","fields":{{}}}}}}]}}"#
            ),
            format!(r#"{{"type":"tick","cursor":"7:9:8",{epoch},"stale":[{{"number":4}}],"watching":[4]}}"#),
            format!(r#"{{"type":"tick","cursor":"7:9:8",{epoch},"watching":[4]}}"#),
            format!(r#"{{"type":"tick","cursor":"7:9:8",{epoch},"stale":[{{"number":4}}],"spread":500}}"#),
            r#"{"type":"hello","person":"00000000-0000-0000-0000-000000000001"}"#.to_owned(),
            r#"{"type":"rights","organizations":[{"organization":"00000000-0000-0000-0000-000000000001","standing":"removed"}]}"#.to_owned(),
        ] {
            check(&frame).unwrap_or_else(|why| panic!("{why}"));
        }
    }
    #[test]
    fn frames_of_a_pattern_differ_in_the_transaction_alone() {
        let frame = |xid: u64| {
            format!(
                r#"{{"type":"tick","cursor":"799:800:","epoch":"00000000-0000-0000-0000-000000000001","stale":[{{"number":3,"xids":[{xid}]}}]}}"#
            )
        };
        let pattern = Pattern::of(&frame(799)).expect("a pattern");
        assert_eq!(pattern.number, 3);
        for expected in [100, 101] {
            assert_eq!(pattern.next(), (expected, frame(expected)));
        }
        let mut said = Said::default();
        let (xid, text) = pattern.next();
        scan(&text, &mut said);
        assert_eq!(said.stale, [(3, xid)]);
        assert!(Pattern::of(r#"{"type":"hello"}"#).is_none());
    }
}
