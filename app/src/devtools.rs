//! Tools for developers, also of a release: what the engine holds, what happened, and why a key was read. Nobody who has
//! not asked for them loads their code or pays for what they note.
//!
//! `?devtools=1` in the address, or Ctrl+Shift+L, turns them on, and this browser remembers it; `?devtools=0`, or their own
//! button, turns them off.

pub mod drawer;
pub mod words;

use crate::ui::icon::{Icon, icon};
use leptos::prelude::*;
use std::sync::Mutex;

/// The tools' own code: a file that is loaded when they are first opened.
#[lazy]
fn lazy_drawer(tools: Tools) -> AnyView {
    drawer::Drawer(drawer::DrawerProps { tools }).into_any()
}

/// How the tools stand in this page.
#[derive(Clone, Copy)]
pub struct Tools {
    is_on: RwSignal<bool>,
    is_open: RwSignal<bool>,
}

#[cfg(feature = "hydrate")]
const FLAG: &str = "millstream.devtools";

impl Tools {
    /// On from here on; notes what happens.
    fn turn_on(self) {
        remember(Some("1"));
        millstream::devtools::listen();
        self.is_on.set(true);
    }

    fn turn_off(self) {
        remember(None);
        self.is_open.set(false);
        self.is_on.set(false);
    }

    fn toggle(self) {
        if !self.is_on.get_untracked() {
            self.turn_on();
        }
        self.is_open.update(|is_open| *is_open = !*is_open);
    }
}

/// Storage may be shut off: then they last as long as the page.
fn remember(flag: Option<&str>) {
    #[cfg(feature = "hydrate")]
    if let Ok(Some(storage)) = window().local_storage() {
        drop(match flag {
            Some(flag) => storage.set_item(FLAG, flag),
            None => storage.remove_item(FLAG),
        });
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = flag;
}

/// What the address or this browser says: to open them, to have them at hand, or nothing.
#[cfg(feature = "hydrate")]
fn heed(tools: Tools) {
    let asked = window().location().search().unwrap_or_default();
    let asked = asked.trim_start_matches('?').split('&').find_map(|part| part.strip_prefix("devtools="));
    let is_remembered = || {
        let storage = window().local_storage().ok().flatten();
        storage.and_then(|storage| storage.get_item(FLAG).ok().flatten()).is_some()
    };
    match asked {
        Some("0") => tools.turn_off(),
        Some(_) => {
            tools.turn_on();
            tools.is_open.set(true);
        }
        None if is_remembered() => tools.turn_on(),
        None => {}
    }
}

/// Stands in every page of the workspace; nothing to be seen where the tools are not turned on.
#[component]
pub fn Devtools() -> impl IntoView {
    let tools = Tools { is_on: RwSignal::new(false), is_open: RwSignal::new(false) };
    #[cfg(feature = "hydrate")]
    {
        Effect::new(move |_| heed(tools));
        let chord = window_event_listener(leptos::ev::keydown, move |event| {
            let is_chord = event.ctrl_key() && event.shift_key() && !event.alt_key();
            if is_chord && event.key().eq_ignore_ascii_case("l") {
                event.prevent_default();
                tools.toggle();
            }
        });
        on_cleanup(move || chord.remove());
    }
    // Taken out once: a view is put into the page by whoever has it.
    let drawer = StoredValue::new(Mutex::new(None::<AnyView>));
    let is_loaded = RwSignal::new(false);
    #[cfg(feature = "hydrate")]
    {
        let owner = Owner::current();
        Effect::new(move |_| {
            if !tools.is_on.get() {
                is_loaded.set(false);
                return;
            }
            if tools.is_open.get() && !is_loaded.get_untracked() {
                let Some(owner) = owner.clone() else { return };
                leptos::task::spawn_local(async move {
                    __preload_lazy_drawer().await;
                    // What it makes belongs to the workspace, and goes with it.
                    let loading = owner.with(|| leptos::reactive::computed::ScopedFuture::new(lazy_drawer(tools)));
                    let view = loading.await;
                    drawer.try_set_value(Mutex::new(Some(view)));
                    is_loaded.try_set(true);
                });
            }
        });
    }
    view! {
        {move || {
            tools
                .is_on
                .get()
                .then(|| {
                    view! {
                        <button
                            class="button devtools-button"
                            data-kind="icon"
                            type="button"
                            aria-label="Developer tools"
                            aria-expanded=move || tools.is_open.get().to_string()
                            title="Developer tools (Ctrl+Shift+L)"
                            on:click=move |_| tools.toggle()
                        >
                            {icon(Icon::Code)}
                        </button>
                    }
                })
        }}
        {move || {
            is_loaded.get().then(|| drawer.with_value(|drawer| drawer.lock().ok().and_then(|mut drawer| drawer.take())))
        }}
    }
}
