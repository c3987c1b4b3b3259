//! Lists that are read page by page, and grow both ways: keyset pagination over values that are live.
//!
//! A page that "begins after this row and has fifty" is not what an infinite list can be made of: let a row come in, and
//! the fiftieth is on no page, or on two. So as soon as a page has a neighbour, it is asked for by both its ends: all rows
//! after this one, up to and with that one. Pages so bounded lie against each other whatever changes in them; each is a
//! live query of its own, and a row is in exactly one. Pure.

use crate::live::{ListQuery, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names a place in the order of a list: that of a row, by its sort key and id. Opaque to all but the server.
pub type Cursor = String;

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageOf {
    /// The first rows, as many as a page has.
    #[default]
    First,
    /// As many as a page has after this place.
    After(Cursor),
    /// As many as a page has, the last of them at this place.
    UpTo(Cursor),
    /// All rows after the one place (or from the beginning), up to and with the other. Where they are too many for one
    /// answer, [`Page::next`] says how far it comes.
    Between(Option<Cursor>, Cursor),
}

impl PageOf {
    /// Whether the list's very first row is in it, if there is any.
    pub fn is_start(&self) -> bool {
        matches!(self, PageOf::First | PageOf::Between(None, _))
    }

    /// The same page, if it now ends there.
    fn until(&self, end: &Cursor) -> Self {
        match self {
            PageOf::First => PageOf::Between(None, end.clone()),
            PageOf::After(start) => PageOf::Between(Some(start.clone()), end.clone()),
            PageOf::UpTo(_) | PageOf::Between(..) => self.clone(),
        }
    }

    /// The same page, if it now begins after that place, or with the list.
    fn since(&self, start: Option<&Cursor>) -> Self {
        match self {
            PageOf::UpTo(end) => PageOf::Between(start.cloned(), end.clone()),
            PageOf::First | PageOf::After(_) | PageOf::Between(..) => self.clone(),
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<R> {
    pub rows: Vec<R>,
    /// How many rows the whole list has.
    pub total: i64,
    /// The place before the first row, where rows lie before it.
    pub previous: Option<Cursor>,
    /// The place of the last row, where rows lie after it.
    pub next: Option<Cursor>,
}

/// A list that is read page by page.
pub trait Paged: ListQuery<List = Page<Self::Row>> {
    type Row: Value;

    fn page(parameters: &Self::Parameters) -> &PageOf;

    /// The same list at another page.
    fn turned(parameters: &Self::Parameters, page: PageOf) -> Self::Parameters;

    /// What tells rows from each other.
    fn id(row: &Self::Row) -> Uuid;
}

/// The pages that have been opened of a list, in order and without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    pages: Vec<PageOf>,
}

/// A page whose value is known: it is that of another, which asks for the same rows in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Same {
    pub page: PageOf,
    pub like: PageOf,
}

impl Pages {
    pub fn new(first: PageOf) -> Self {
        Self { pages: vec![first] }
    }

    pub fn as_slice(&self) -> &[PageOf] {
        &self.pages
    }

    /// Opens the page below the last one, given where that ends.
    pub fn grow_down(&mut self, next: &Cursor) -> Vec<Same> {
        let last = self.pages.len() - 1;
        let same = self.ask_as(last, |page| page.until(next));
        // Where it has been asked for by its ends already, it is the end that the next begins at.
        let end = match &self.pages[last] {
            PageOf::UpTo(end) | PageOf::Between(_, end) => end.clone(),
            PageOf::First | PageOf::After(_) => next.clone(),
        };
        self.pages.push(PageOf::After(end));
        same
    }

    /// Opens the page above the first one, given where that begins.
    pub fn grow_up(&mut self, previous: &Cursor) -> Vec<Same> {
        let same = self.ask_as(0, |page| page.since(Some(previous)));
        let start = match &self.pages[0] {
            PageOf::After(start) | PageOf::Between(Some(start), _) => start.clone(),
            PageOf::First | PageOf::UpTo(_) | PageOf::Between(None, _) => previous.clone(),
        };
        self.pages.insert(0, PageOf::UpTo(start));
        same
    }

    /// What the value of the page at this place says of its ends: one that came to the beginning of the list begins
    /// there whatever comes in, and one that was too long for one answer is two.
    pub fn found(&mut self, at: usize, previous: Option<&Cursor>, next: Option<&Cursor>) -> Vec<Same> {
        let Some(page) = self.pages.get(at) else { return Vec::new() };
        match (page.clone(), next) {
            (PageOf::UpTo(_), _) if previous.is_none() => self.ask_as(at, |page| page.since(None)),
            (PageOf::Between(start, end), Some(next)) if *next != end => {
                let same = self.ask_as(at, |_| PageOf::Between(start, next.clone()));
                self.pages.insert(at + 1, PageOf::Between(Some(next.clone()), end));
                same
            }
            _ => Vec::new(),
        }
    }

    fn ask_as(&mut self, at: usize, other: impl FnOnce(&PageOf) -> PageOf) -> Vec<Same> {
        let page = other(&self.pages[at]);
        let like = std::mem::replace(&mut self.pages[at], page.clone());
        if page == like { Vec::new() } else { vec![Same { page, like }] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a page has, and as many as an answer has at most.
    const PAGE: usize = 5;
    const MOST: usize = 9;

    /// A list of numbers, of which each is its own cursor.
    fn answer(list: &[u32], page: &PageOf) -> Page<u32> {
        let place = |cursor: &Cursor| cursor.parse::<u32>().expect("a cursor of this test");
        let (from, to, is_backwards, most) = match page {
            PageOf::First => (0, u32::MAX, false, PAGE),
            PageOf::After(start) => (place(start), u32::MAX, false, PAGE),
            PageOf::UpTo(end) => (0, place(end), true, PAGE),
            PageOf::Between(start, end) => (start.as_ref().map_or(0, place), place(end), false, MOST),
        };
        let within: Vec<u32> = list.iter().copied().filter(|row| (from + 1..=to).contains(row)).collect();
        let skipped = if is_backwards { within.len().saturating_sub(most) } else { 0 };
        let rows: Vec<u32> = within.iter().copied().skip(skipped).take(most).collect();
        let is_cut = skipped + rows.len() < within.len();
        let before = rows.first().and_then(|first| list.iter().rev().find(|row| *row < first)).map(u32::to_string);
        let previous = if is_backwards && skipped == 0 { None } else { before };
        let next = match page {
            _ if is_cut && !is_backwards => rows.last().map(u32::to_string),
            PageOf::UpTo(end) | PageOf::Between(_, end) => Some(end.clone()),
            PageOf::First | PageOf::After(_) => None,
        };
        Page { total: list.len() as i64, previous, next, rows }
    }

    fn shown(list: &[u32], pages: &Pages) -> Vec<u32> {
        pages.as_slice().iter().flat_map(|page| answer(list, page).rows).collect()
    }

    fn settle(list: &[u32], pages: &mut Pages) {
        let mut at = 0;
        while at < pages.as_slice().len() {
            let page = answer(list, &pages.as_slice()[at]);
            for Same { page, like } in pages.found(at, page.previous.as_ref(), page.next.as_ref()) {
                let (now, before) = (answer(list, &page), answer(list, &like));
                assert_eq!(now.rows, before.rows[..now.rows.len()], "{page:?} is taken to be {like:?}");
            }
            at += 1;
        }
    }

    #[test]
    fn pages_grow_both_ways_without_a_gap() {
        let list: Vec<u32> = (1..=30).collect();
        let mut pages = Pages::new(PageOf::After("12".to_owned()));
        assert_eq!(shown(&list, &pages), (13..=17).collect::<Vec<_>>());
        pages.grow_down(&"17".to_owned());
        pages.grow_up(&"12".to_owned());
        assert_eq!(shown(&list, &pages), (8..=22).collect::<Vec<_>>());
        pages.grow_up(&"7".to_owned());
        pages.grow_up(&"2".to_owned());
        settle(&list, &mut pages);
        assert_eq!(shown(&list, &pages), (1..=22).collect::<Vec<_>>());
        assert!(pages.as_slice()[0].is_start());
    }

    #[test]
    fn whatever_changes_between_the_ends_every_row_is_on_exactly_one_page() {
        let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = move |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..300 {
            let mut list: Vec<u32> = (1..=40).map(|row| row * 100).collect();
            let start = list[random(list.len())].to_string();
            let mut pages = Pages::new(match random(3) {
                0 => PageOf::First,
                1 => PageOf::After(start),
                _ => PageOf::UpTo(start),
            });
            settle(&list, &mut pages);
            for _ in 0..40 {
                let place = random(4_100) as u32 + 1;
                match (list.binary_search(&place), random(3)) {
                    (Err(at), 0) => list.insert(at, place),
                    (_, 1) => drop(list.remove(random(list.len()))),
                    _ => {
                        let ends = pages.as_slice();
                        let first = answer(&list, &ends[0]).previous;
                        let last = answer(&list, &ends[ends.len() - 1]).next;
                        match (random(2), first, last) {
                            (0, Some(previous), _) => drop(pages.grow_up(&previous)),
                            (_, _, Some(next)) => drop(pages.grow_down(&next)),
                            _ => {}
                        }
                    }
                }
                settle(&list, &mut pages);
                let shown = shown(&list, &pages);
                let (Some(first), Some(last)) = (shown.first(), shown.last()) else { continue };
                let all: Vec<u32> = list.iter().copied().filter(|row| (*first..=*last).contains(row)).collect();
                assert_eq!(shown, all, "{pages:?}");
            }
            if pages.as_slice()[0].is_start() {
                assert_eq!(shown(&list, &pages).first(), list.first(), "{pages:?}");
            }
        }
    }
}
