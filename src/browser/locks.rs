//! Web Locks: who holds a lock keeps it until its page is gone, however that ends.

use leptos::task::spawn_local;
use leptos::wasm_bindgen::prelude::*;
use leptos::wasm_bindgen::{JsCast, JsValue};
use leptos::web_sys::js_sys::{Function, Object, Promise, Reflect};
use std::cell::Cell;
use std::rc::Rc;
use wasm_bindgen_futures::JsFuture;

fn locks() -> Option<JsValue> {
    let navigator = leptos::prelude::window().navigator();
    Reflect::get(&navigator, &JsValue::from_str("locks")).ok().filter(JsValue::is_object)
}

/// Whether there are locks: only where the page was fetched safely, by https or from this very machine.
pub(super) fn are_here() -> bool {
    locks().is_some()
}

/// Asks for the lock; `granted` is called once it is ours, perhaps much later, and says how long it is held. Gives what
/// comes of it, where there are locks here.
fn request(name: &str, options: &JsValue, granted: &JsValue) -> Option<Promise> {
    let locks = locks()?;
    let request: Function = Reflect::get(&locks, &JsValue::from_str("request")).ok()?.dyn_into().ok()?;
    request.call3(&locks, &JsValue::from_str(name), options, granted).ok()?.dyn_into().ok()
}

/// Whether somebody else's lock is waited for, or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Wait,
    Steal,
}

/// Holds the lock from when it is granted until the page is gone, or another takes it away: then `lost` is called. Gives
/// whether there are locks here.
pub(super) fn hold(
    name: &str,
    manner: Manner,
    granted: impl FnOnce() + 'static,
    lost: impl FnOnce() + 'static,
) -> bool {
    let options = Object::new();
    if manner == Manner::Steal {
        // Fails only for what is no object.
        drop(Reflect::set(&options, &JsValue::from_str("steal"), &JsValue::TRUE));
    }
    let is_held = Rc::new(Cell::new(false));
    let was_held = is_held.clone();
    let granted = Closure::once_into_js(move || {
        is_held.set(true);
        granted();
        // Never settles: the lock goes with the page.
        Promise::new(&mut |_, _| {})
    });
    let Some(held) = request(name, &options, &granted) else { return false };
    spawn_local(async move {
        // It is fulfilled never, and rejected when the lock is stolen.
        if JsFuture::from(held).await.is_err() && was_held.get() {
            lost();
        }
    });
    true
}

/// Calls `free` once whoever holds the lock is gone.
pub(super) fn when_free(name: &str, free: impl FnOnce() + 'static) {
    // Without locks nobody is ever known to be gone.
    drop(request(name, &Object::new(), &Closure::once_into_js(free)));
}
