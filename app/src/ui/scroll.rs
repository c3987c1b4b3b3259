//! Where the reader was: who goes back to a long table finds it as they left it.
//!
//! The browser does this by itself where the document is as long at once as it was; a table that is made anew is not.

use leptos::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;

/// So many addresses are remembered.
const MOST: usize = 100;

thread_local! {
    /// By address, in pixels.
    static LEFT_AT: RefCell<HashMap<String, f64>> = RefCell::default();
    /// Where the reader has gone by the browser's "back" or "forward".
    static RETURNED_TO: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn address() -> Option<String> {
    window().location().href().ok()
}

/// Takes note of the reader's going back and forth, for as long as the page lives.
pub fn follow_history() {
    let _ = window_event_listener_untyped("popstate", |_| RETURNED_TO.set(address()));
}

/// The table at this address is scrolled so far.
pub(super) fn is_at(pixels: f64) {
    let Some(address) = address() else { return };
    LEFT_AT.with_borrow_mut(|left_at| {
        if left_at.len() >= MOST && !left_at.contains_key(&address) {
            left_at.clear();
        }
        left_at.insert(address, pixels);
    });
}

/// How far the table was scrolled when the reader left it, if they have come back to it.
pub(super) fn came_back_to() -> Option<f64> {
    let returned_to = RETURNED_TO.take();
    let address = returned_to.filter(|returned_to| address().as_ref() == Some(returned_to))?;
    LEFT_AT.with_borrow(|left_at| left_at.get(&address).copied())
}
