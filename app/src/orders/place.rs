//! A place in a list of orders, at which a page begins or ends: the sort key and the id of a row. Its text is the list's cursor.
//! Pure.

use super::Sort;
use std::fmt;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    key: String,
    id: Uuid,
}

impl Place {
    /// Of a row: `key` as the list's statement writes it.
    pub(super) fn new(key: String, id: Uuid) -> Self {
        Self { key, id }
    }

    /// Reads back what [`fmt::Display`] wrote of a row, and nothing else: a place has one text, for pages compare them, and its
    /// key is one that PostgreSQL takes. A moment for the lists by time, a day (or none) for the one by due date.
    pub fn parse(cursor: &str, sort: Sort) -> Option<Self> {
        let (key, id) = cursor.split_once('_')?;
        let is_key = match sort {
            Sort::Due => key == "infinity" || is_day(key),
            Sort::Newest | Sort::Updated => {
                key.split_once('T').is_some_and(|(day, clock)| is_day(day) && is_clock(clock))
            }
        };
        if !is_key {
            return None;
        }
        let place = Self { key: key.to_owned(), id: id.parse().ok()? };
        (place.to_string() == cursor).then_some(place)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}_{}", self.key, self.id)
    }
}

/// `YYYY-MM-DD`. There is no year 0, to PostgreSQL.
fn is_day(text: &str) -> bool {
    has_form(text, "0000-00-00") && crate::ui::time::from_input(text).is_some_and(|day| day.year() > 0)
}

/// `HH:MM:SS.ffffff`.
fn is_clock(text: &str) -> bool {
    let below = |part: &str, bound: u8| part.parse().is_ok_and(|number: u8| number < bound);
    has_form(text, "00:00:00.000000") && below(&text[..2], 24) && below(&text[3..5], 60) && below(&text[6..8], 60)
}

/// Whether it is like the form, with any digits for its zeros.
fn has_form(text: &str, form: &str) -> bool {
    let is_like = |(byte, like): (u8, u8)| if like == b'0' { byte.is_ascii_digit() } else { byte == like };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_like)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01a1f806-431f-7b7a-9005-4f09a47cf495";

    #[test]
    fn a_cursor_is_only_what_the_list_gives_itself() {
        let taken = |key: &str, sort| Place::parse(&format!("{key}_{ID}"), sort).is_some();
        assert!(
            taken("2026-11-20T17:03:29.123456", Sort::Newest)
                && taken("2026-11-20", Sort::Due)
                && taken("infinity", Sort::Due)
        );
        for key in [
            "",
            "-",
            "2026-99-20T17:03:29.123456",
            "2026-11-20T25:03:29.123456",
            "2026-11-20T17:03:29",
            "2026-11-20T0017:03:29.123456",
            "2026-11-20T17:03:29.1",
            "0000-11-20T17:03:29.123456",
            "2026-11-20",
            "infinity",
        ] {
            assert!(!taken(key, Sort::Updated), "{key:?}");
        }
        for key in ["2026-02-30", "2026-2-3", "+2026-02-03", "0000-01-01"] {
            assert!(!taken(key, Sort::Due), "{key:?}");
        }
    }

    #[test]
    fn a_place_has_one_text() {
        let cursor = format!("2026-11-20_{ID}");
        assert_eq!(Place::parse(&cursor, Sort::Due).map(|place| place.to_string()), Some(cursor));
        for id in [&ID.to_uppercase(), &ID.replace('-', ""), &format!("{{{ID}}}"), &format!("urn:uuid:{ID}"), "x", ""] {
            assert_eq!(Place::parse(&format!("2026-11-20_{id}"), Sort::Due), None, "{id:?}");
        }
        assert_eq!(Place::parse("x", Sort::Due), None);
    }
}
