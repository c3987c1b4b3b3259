//! Web Locks: who holds a lock keeps it until its page is gone, however that ends.

use leptos::wasm_bindgen::prelude::*;
use leptos::wasm_bindgen::{JsCast, JsValue};
use leptos::web_sys::js_sys::{Function, Promise, Reflect};

fn locks() -> Option<JsValue> {
    let navigator = leptos::prelude::window().navigator();
    Reflect::get(&navigator, &JsValue::from_str("locks")).ok().filter(JsValue::is_object)
}

/// Whether there are locks: only where the page was fetched safely, by https or from this very machine.
pub(super) fn are_here() -> bool {
    locks().is_some()
}

/// Asks for the lock; `granted` is called once it is ours, perhaps much later, and says how long it is held. Gives
/// whether there are locks here at all.
fn request(name: &str, granted: Function) -> bool {
    let Some(locks) = locks() else { return false };
    let Ok(request) = Reflect::get(&locks, &JsValue::from_str("request")) else { return false };
    let Ok(request) = request.dyn_into::<Function>() else { return false };
    request.call2(&locks, &JsValue::from_str(name), &granted).is_ok()
}

/// Holds the lock from when it is granted until the page is gone. Gives whether there are locks here.
pub(super) fn hold(name: &str, granted: impl FnOnce() + 'static) -> bool {
    let granted = Closure::once_into_js(move || {
        granted();
        // Never settles: the lock goes with the page.
        Promise::new(&mut |_, _| {})
    });
    request(name, granted.unchecked_into())
}

/// Calls `free` once whoever holds the lock is gone.
pub(super) fn when_free(name: &str, free: impl FnOnce() + 'static) {
    let granted = Closure::once_into_js(free);
    request(name, granted.unchecked_into());
}
