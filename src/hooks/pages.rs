//! Lists that grow both ways: [`use_pages`].

use super::query::{Ask, LiveQuery, is_same, use_list};
use crate::error::ApiError;
use crate::key::OrganizationId;
#[cfg(feature = "browser")]
use crate::key::QueryKey;
use crate::pages::{Cursor, Page, PageOf, Paged, Pages};
use leptos::prelude::*;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// A list that is opened page by page, as a component holds it. `Copy`; ends with the component.
///
/// Each page is a live query of its own; those in view ([`LivePages::look_at`]) are kept live, the others when they come
/// into view again.
pub struct LivePages<L: Paged> {
    first: LiveQuery<Page<L::Row>>,
    #[cfg(feature = "browser")]
    asked: Memo<Option<(OrganizationId, L::Parameters)>>,
    #[cfg(feature = "browser")]
    grown: RwSignal<Option<Grown<L>>>,
    parts: Memo<Parts<L::Row>>,
    in_view: RwSignal<Range<usize>>,
}

impl<L: Paged> Clone for LivePages<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Paged> Copy for LivePages<L> {}

/// The pages that were opened, beside the one that was asked for.
struct Grown<L: Paged> {
    of: (OrganizationId, L::Parameters),
    pages: Pages,
}

impl<L: Paged> Clone for Grown<L> {
    fn clone(&self) -> Self {
        Self { of: self.of.clone(), pages: self.pages.clone() }
    }
}

/// The pages as the cache has them.
struct Parts<R> {
    parts: Vec<Part<R>>,
    /// Where the list is that of other parameters, until the first of these has come.
    is_previous: bool,
}

struct Part<R> {
    page: PageOf,
    value: Option<Arc<Page<R>>>,
    /// As many as it had when it was last in memory.
    rows: usize,
    error: Option<ApiError>,
}

impl<R: PartialEq> PartialEq for Parts<R> {
    fn eq(&self, other: &Self) -> bool {
        let is_equal = |(one, other): (&Part<R>, &Part<R>)| {
            one.page == other.page
                && one.rows == other.rows
                && one.error == other.error
                && is_same(one.value.as_ref(), other.value.as_ref())
        };
        self.is_previous == other.is_previous
            && self.parts.len() == other.parts.len()
            && self.parts.iter().zip(&other.parts).all(is_equal)
    }
}

/// A list, live, that begins with the page that its parameters ask for and grows from there.
pub fn use_pages<L: Paged>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    parameters: impl Ask<L::Parameters>,
) -> LivePages<L> {
    let asked = Memo::new(move |_| Some((organization(), parameters.ask()?)));
    let grown = RwSignal::new(asked.get_untracked().and_then(recalled::<L>));
    // Asked by its ends once it has neighbours, the first page is another query.
    let is_grown = Memo::new(move |_| grown.with(|grown| grown.as_ref().map(|grown| grown.of.clone())) == asked.get());
    let first = use_list::<L>(
        move || asked.with(|asked| asked.as_ref().map_or(OrganizationId::NONE, |(organization, _)| *organization)),
        move || asked.get().filter(|_| !is_grown.get()).map(|(_, parameters)| parameters),
    );
    let parts = Memo::new(move |before: Option<&Parts<L::Row>>| match (grown.get(), is_grown.get()) {
        (Some(grown), true) => shown::<L>(&grown, before),
        _ => {
            let value = first.held();
            let rows = value.as_ref().map_or(0, |page| page.rows.len());
            let page = asked.with(|asked| asked.as_ref().map(|(_, parameters)| L::page(parameters).clone()));
            let part = Part { page: page.unwrap_or_default(), value, rows, error: first.error() };
            Parts { parts: vec![part], is_previous: first.is_previous() }
        }
    });
    let pages = LivePages {
        first,
        #[cfg(feature = "browser")]
        asked,
        #[cfg(feature = "browser")]
        grown,
        parts,
        in_view: RwSignal::new(0..0),
    };
    #[cfg(feature = "browser")]
    pages.keep_live();
    pages
}

#[cfg(feature = "browser")]
fn shown<L: Paged>(grown: &Grown<L>, before: Option<&Parts<L::Row>>) -> Parts<L::Row> {
    let (organization, parameters) = &grown.of;
    let part = |page: &PageOf| {
        let view = crate::browser::view(&L::list_key(*organization, &L::turned(parameters, page.clone())));
        let value = view.data.and_then(|data| data.downcast::<Page<L::Row>>().ok());
        let known = before.and_then(|before| before.parts.iter().find(|part| part.page == *page));
        let rows = value.as_ref().map(|value| value.rows.len()).or(known.map(|part| part.rows));
        Part { page: page.clone(), value, rows: rows.unwrap_or_default(), error: view.error }
    };
    Parts { parts: grown.pages.as_slice().iter().map(part).collect(), is_previous: false }
}

/// So many lists are found as they were left.
#[cfg(feature = "browser")]
const MOST_OPENED: usize = 8;

#[cfg(feature = "browser")]
thread_local! {
    /// The pages of lists that were grown, by the list's key; the latest last.
    static OPENED: std::cell::RefCell<Vec<(QueryKey, Pages)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// As the list was when it was last shown, if all of it is still in memory: who comes back to it finds as much of it open as
/// they left.
#[cfg(feature = "browser")]
fn recalled<L: Paged>(of: (OrganizationId, L::Parameters)) -> Option<Grown<L>> {
    let key = L::list_key(of.0, &of.1);
    let opened = OPENED.with_borrow(|opened| opened.iter().find(|(known, _)| *known == key).cloned());
    let (_, pages) = opened?;
    let is_here = |page: &PageOf| crate::browser::holds(&L::list_key(of.0, &L::turned(&of.1, page.clone())));
    pages.as_slice().iter().all(is_here).then_some(Grown { of, pages })
}

#[cfg(not(feature = "browser"))]
fn recalled<L: Paged>(_: (OrganizationId, L::Parameters)) -> Option<Grown<L>> {
    None
}

#[cfg(feature = "browser")]
fn remember<L: Paged>(grown: &Grown<L>) {
    let key = L::list_key(grown.of.0, &grown.of.1);
    OPENED.with_borrow_mut(|opened| {
        opened.retain(|(known, _)| *known != key);
        if opened.len() == MOST_OPENED {
            opened.remove(0);
        }
        opened.push((key, grown.pages.clone()));
    });
}

#[cfg(not(feature = "browser"))]
fn shown<L: Paged>(_: &Grown<L>, _: Option<&Parts<L::Row>>) -> Parts<L::Row> {
    Parts { parts: Vec::new(), is_previous: false }
}

/// An end of a list that has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Top,
    Bottom,
}

impl<L: Paged> LivePages<L> {
    /// The first page, or why there is none; `None` while it is on its way (then read it below a `Suspense`).
    pub fn first(&self) -> Option<Result<(), ApiError>> {
        let (is_there, error) = self.parts.with(|parts| {
            let is_there = parts.parts.iter().any(|part| part.value.is_some());
            (is_there, parts.parts.iter().find_map(|part| part.error.clone()))
        });
        match (is_there, error) {
            (true, _) => Some(Ok(())),
            (false, Some(error)) => Some(Err(error)),
            (false, None) => self.first.with(|_| ()),
        }
    }

    /// How many rows have been opened.
    pub fn len(&self) -> usize {
        self.parts.with(|parts| parts.parts.iter().map(|part| part.rows).sum())
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pages have been opened.
    pub fn opened(&self) -> usize {
        self.parts.with(|parts| parts.parts.len())
    }

    /// How many rows the whole list has, as the page says that was read last.
    pub fn total(&self) -> Option<i64> {
        self.parts.with(|parts| parts.parts.iter().rev().find_map(|part| part.value.as_ref()).map(|page| page.total))
    }

    /// The opened rows at these places, those of them that are in memory; each once, also while it moves from one page
    /// to another.
    pub fn slice(&self, range: Range<usize>) -> Vec<L::Row> {
        let mut known = HashSet::new();
        self.parts.with(|parts| {
            let mut start = 0;
            let mut rows = Vec::new();
            for part in &parts.parts {
                let end = start + part.rows;
                if let Some(page) = part.value.as_ref().filter(|_| start < range.end && end > range.start) {
                    let within = range.start.saturating_sub(start)..(range.end - start).min(page.rows.len());
                    let here = page.rows.get(within).unwrap_or_default();
                    rows.extend(here.iter().filter(|row| known.insert(L::id(row))).cloned());
                }
                start = end;
            }
            rows
        })
    }

    /// What is read from a row, wherever it is.
    pub fn find<T>(&self, id: uuid::Uuid, read: impl FnOnce(&L::Row) -> T) -> Option<T> {
        self.parts.with(|parts| {
            let mut pages = parts.parts.iter().filter_map(|part| part.value.as_ref());
            pages.find_map(|page| page.rows.iter().find(|row| L::id(row) == id)).map(read)
        })
    }

    /// Where rows lie beyond this end: the place that the next page begins (or ends) at.
    pub fn beyond(&self, end: End) -> Option<Cursor> {
        self.parts.with(|parts| match end {
            End::Top => parts.parts.first()?.value.as_ref()?.previous.clone(),
            End::Bottom => parts.parts.last()?.value.as_ref()?.next.clone(),
        })
    }

    /// Why a page could not be brought, or not be brought up to date.
    pub fn error(&self) -> Option<ApiError> {
        self.parts.with(|parts| parts.parts.iter().find_map(|part| part.error.clone()))
    }

    /// Whether what is shown is still the list with the parameters before.
    pub fn is_previous(&self) -> bool {
        self.parts.with(|parts| parts.is_previous)
    }

    /// Whether a page that has been opened is on its way.
    pub fn is_growing(&self) -> bool {
        self.parts.with(|parts| parts.parts.len() > 1 && parts.parts.iter().any(|part| part.value.is_none()))
    }

    /// Says which rows are in view: their pages are kept live.
    pub fn look_at(&self, range: Range<usize>) {
        if self.in_view.with_untracked(|before| *before != range) {
            self.in_view.set(range);
        }
    }
}

#[cfg(feature = "browser")]
impl<L: Paged> LivePages<L> {
    /// Opens the next page at this end, if rows lie beyond it. One page at a time.
    pub fn grow(&self, end: End) {
        let Some(place) = untrack(|| self.beyond(end)).filter(|_| !untrack(|| self.is_growing())) else { return };
        let Some(of) = self.asked.get_untracked() else { return };
        let grown = self.grown.get_untracked().filter(|grown| grown.of == of);
        let grown = grown.unwrap_or_else(|| Grown { pages: Pages::new(L::page(&of.1).clone()), of });
        self.turn(grown, |pages| match end {
            End::Top => pages.grow_up(&place),
            End::Bottom => pages.grow_down(&place),
        });
    }

    /// Tries again at once, after a failure.
    pub fn retry(&self) {
        self.first.retry();
        if let Some(Grown { of: (organization, parameters), pages }) = self.grown.get_untracked() {
            for page in pages.as_slice() {
                crate::browser::retry(&L::list_key(organization, &L::turned(&parameters, page.clone())));
            }
        }
    }

    fn turn(&self, mut grown: Grown<L>, change: impl FnOnce(&mut Pages) -> Vec<crate::pages::Same>) {
        let (organization, parameters) = grown.of.clone();
        let key = |page: PageOf| L::list_key(organization, &L::turned(&parameters, page));
        for same in change(&mut grown.pages) {
            crate::browser::adopt(&key(same.page), &key(same.like));
        }
        remember(&grown);
        self.grown.set(Some(grown));
    }

    /// Observes the pages in view, and takes note of what their values say of their ends.
    fn keep_live(self) {
        crate::browser::learn(crate::catalogue::Codec::list::<L>());
        Effect::new(move |_| {
            let Some(of) = self.asked.get() else { return };
            if self.grown.with_untracked(|grown| grown.as_ref().is_none_or(|grown| grown.of != of))
                && let Some(grown) = recalled::<L>(of)
            {
                self.grown.set(Some(grown));
            }
        });
        let observer = crate::browser::Observer::new(super::query::Freshness::Told);
        Effect::new(move |_| {
            let of = self.asked.get();
            let grown = self.grown.get().filter(|grown| Some(&grown.of) == of.as_ref());
            let Some(grown) = grown else { return observer.turn_to(Vec::new()) };
            let view = self.in_view.get();
            let wanted = self.parts.with(|parts| {
                let mut start = 0;
                let mut wanted = Vec::new();
                for part in &parts.parts {
                    let end = start + part.rows;
                    // What has no row yet is only being opened.
                    if part.rows == 0 || (start < view.end && end > view.start) {
                        wanted.push(part.page.clone());
                    }
                    start = end;
                }
                wanted
            });
            let (organization, parameters) = &grown.of;
            let key = |page: PageOf| L::list_key(*organization, &L::turned(parameters, page));
            observer.turn_to(wanted.into_iter().map(key).collect());
        });
        Effect::new(move |_| {
            let ends: Vec<_> = self.parts.with(|parts| {
                let ends = parts.parts.iter().enumerate();
                ends.filter_map(|(at, part)| {
                    let value = part.value.as_ref()?;
                    Some((at, part.page.clone(), value.previous.clone(), value.next.clone()))
                })
                .collect()
            });
            for (at, page, previous, next) in ends {
                let Some(grown) = self.grown.get_untracked() else { return };
                if Some(&grown.of) == self.asked.get_untracked().as_ref()
                    && grown.pages.as_slice().get(at) == Some(&page)
                {
                    let mut pages = grown.pages.clone();
                    let found = pages.found(at, previous.as_ref(), next.as_ref());
                    if pages != grown.pages {
                        self.turn(grown, move |now| {
                            *now = pages;
                            found
                        });
                        return; // and again, with the places of what is there now
                    }
                }
            }
        });
    }
}

#[cfg(not(feature = "browser"))]
impl<L: Paged> LivePages<L> {
    /// On the server a list does not grow.
    pub fn grow(&self, end: End) {
        let _ = end;
    }

    /// On the server nothing is tried again.
    pub fn retry(&self) {}
}
