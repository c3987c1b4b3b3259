//! What the engine tells the page beside values, put in words; and taking back what one did.

use super::feedback::{Toasts, Tone};
use super::shell::Session;
use super::sync;
use leptos::prelude::*;
use millstream::hooks::{Made, Refusal, Reports, undo};
use std::sync::Arc;

/// For [`millstream::hooks::start`], from within a page.
pub fn reports() -> Reports {
    let toasts = expect_context::<Toasts>();
    let session = expect_context::<Session>();
    Reports {
        made: Arc::new(move |Made { label, can_undo, takes_away }: Made| {
            if can_undo && takes_away {
                toasts.offer(Tone::Info, format!("{label}."), "Undo", move || take_back(toasts));
            }
        }),
        refused: Arc::new(move |Refusal { label, error, .. }: Refusal| {
            let message = format!("Not saved: {label}. {}", error.message);
            toasts.offer(Tone::Error, message, "Show", sync::open);
        }),
        rights_changed: Arc::new(move |_| session.refresh()),
        left: Arc::new(move |organization| {
            toasts.say(Tone::Info, "You are no longer a member of this organization.");
            session.left(organization);
        }),
        returned: Arc::new(move |moved| match session.me_untracked() {
            Ok(me) => crate::away::notices(&moved, me.id),
            Err(_) => Vec::new(),
        }),
        signed_out: Arc::new(move |()| session.ended()),
    }
}

fn take_back(toasts: Toasts) {
    if let Some(label) = undo() {
        toasts.say(Tone::Info, format!("Undone: {label}."));
    }
}

/// `z` and Ctrl+Z take the last step back; with Shift, and by Ctrl+Y, it is done again. Not while one types: then the
/// keys are the text's.
pub fn listen_for_undo(toasts: Toasts) {
    #[cfg(feature = "hydrate")]
    {
        use leptos::wasm_bindgen::JsCast;
        let listener = window_event_listener(leptos::ev::keydown, move |event| {
            let target = event.target().and_then(|target| target.dyn_into::<leptos::web_sys::Element>().ok());
            let is_typing = target.is_some_and(|target| {
                target
                    .closest(
                        "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], dialog[open]",
                    )
                    .ok()
                    .flatten()
                    .is_some()
            });
            if is_typing || event.alt_key() {
                return;
            }
            let is_command = event.ctrl_key() || event.meta_key();
            match (event.key().to_lowercase().as_str(), event.shift_key()) {
                ("z", false) => {
                    event.prevent_default();
                    take_back(toasts);
                }
                ("z", true) | ("y", false) if is_command || event.key() == "Z" => {
                    event.prevent_default();
                    if let Some(label) = millstream::hooks::redo() {
                        toasts.say(Tone::Info, format!("Done again: {label}."));
                    }
                }
                _ => {}
            }
        });
        on_cleanup(move || listener.remove());
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = toasts;
}
