//! The browser's entry: takes over the page that the server has rendered, or fills the empty one that it is started with
//! where there is no server.

use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;

/// Called by the page once the wasm is loaded.
#[wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    spawn_local(async {
        let path = leptos::prelude::window().location().pathname().unwrap_or_default();
        app::lazy::loaded(&path).await;
        // In one go, and so not `hydrate_lazy`: nothing may change before all that came with the page is taken over.
        let is_empty = leptos::prelude::document().body().is_some_and(|body| body.has_attribute("data-start"));
        if is_empty { leptos::mount::mount_to_body(app::App) } else { leptos::mount::hydrate_body(app::App) }
    });
}
