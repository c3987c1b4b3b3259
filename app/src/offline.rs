//! Starting without the network: what is kept of the person for it, and the worker that keeps the program.

use crate::tenancy::Me;
use crate::ui::feedback::Toasts;

#[cfg(feature = "hydrate")]
const ME: &str = "millstream.me";

/// Who used this device last and has not signed out: whose page it is where no server says so.
pub fn last_person() -> Option<Me> {
    #[cfg(feature = "hydrate")]
    {
        let storage = leptos::prelude::window().local_storage().ok().flatten()?;
        serde_json::from_str(&storage.get_item(ME).ok().flatten()?).ok()
    }
    #[cfg(not(feature = "hydrate"))]
    None
}

/// Keeps the person, or forgets them. Where storage is shut off, there is no starting without the network.
pub fn keep_person(me: Option<&Me>) {
    #[cfg(feature = "hydrate")]
    if let Ok(Some(storage)) = leptos::prelude::window().local_storage() {
        match me.and_then(|me| serde_json::to_string(me).ok()) {
            Some(json) => drop(storage.set_item(ME, &json)),
            None => drop(storage.remove_item(ME)),
        }
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = me;
}

/// Registers the worker; offers to load the page anew when there is a newer version. There are workers only where the
/// page was fetched safely (https, or this very machine).
pub fn register_worker(toasts: Toasts) {
    #[cfg(feature = "hydrate")]
    {
        use crate::ui::feedback::Tone;
        use leptos::prelude::window;
        use leptos::wasm_bindgen::prelude::Closure;
        use leptos::wasm_bindgen::{JsCast, JsValue};
        use leptos::web_sys::js_sys::Reflect;

        let navigator = window().navigator();
        if !Reflect::get(&navigator, &JsValue::from_str("serviceWorker")).is_ok_and(|workers| workers.is_object()) {
            return;
        }
        let workers = navigator.service_worker();
        if workers.controller().is_some() {
            let changed = Closure::<dyn Fn()>::new(move || {
                let load_anew = || drop(window().location().reload());
                toasts.offer(Tone::Info, "A new version of Millstream is ready.", "Reload", load_anew);
            });
            workers.set_oncontrollerchange(Some(changed.as_ref().unchecked_ref()));
            // It listens as long as the page lives.
            changed.forget();
        }
        // Refused in private windows of some browsers: then there is no starting without the network.
        drop(workers.register("/sw.js"));
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = toasts;
}
