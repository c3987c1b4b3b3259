//! The browser's entry: takes over the page that the server has rendered, or fills the empty one that it is started with
//! where there is no server.

use wasm_bindgen::prelude::wasm_bindgen;

/// Called by the page once the wasm is loaded.
#[wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    let is_empty = leptos::prelude::document().body().is_some_and(|body| body.has_attribute("data-start"));
    if is_empty { leptos::mount::mount_to_body(app::App) } else { leptos::mount::hydrate_body(app::App) }
}
