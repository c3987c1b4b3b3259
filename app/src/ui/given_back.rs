//! What was typed and could not be saved, given back on the page of its record: what the server refused, and what was still
//! being typed when its field went from the screen, as it does when somebody else deletes the record.

use super::conflict::{Matter, Settle, is_refused};
use super::icon::{Icon, icon};
use leptos::prelude::*;
use millstream::MutationId;
use millstream::client::{Waiting, WaitingState};
use millstream::hooks::use_outbox;
use uuid::Uuid;

/// The texts of a page that lost their fields; provided once a page.
#[derive(Clone, Copy)]
pub struct Orphans(RwSignal<Vec<Orphan>>);

#[derive(Clone, PartialEq)]
struct Orphan {
    number: usize,
    label: String,
    text: String,
}

impl Orphans {
    pub fn provide() -> Self {
        let orphans = Self(RwSignal::new(Vec::new()));
        provide_context(orphans);
        orphans
    }

    /// The field of this label is gone, and this stood in it. To be called while a component is taken away: what it
    /// belongs to may be going too, and then nobody is left to give it back to.
    pub fn take_in(self, label: String, text: String) {
        self.0.try_update(|orphans| {
            let number = orphans.last().map_or(0, |last| last.number + 1);
            orphans.push(Orphan { number, label, text });
        });
    }
}

/// Which refused mutations are shown here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that no field shows: a dispute stands at its field.
    Undisputed,
    /// All: there are no fields any more.
    All,
}

#[derive(Clone, PartialEq)]
struct Refused {
    id: MutationId,
    label: String,
    why: String,
    typed: String,
}

#[component]
pub fn GivenBack(#[prop(into)] record: Signal<Uuid>, #[prop(into)] which: Signal<Which>) -> impl IntoView {
    let outbox = use_outbox();
    let orphans = expect_context::<Orphans>().0;
    let refused = Memo::new(move |_| {
        let (record, which) = (record.get(), which.get());
        let is_here = |waiting: &&Waiting| {
            let is_shown = which == Which::All || waiting.disputes.is_empty();
            is_refused(waiting) && waiting.records.contains(&record) && is_shown
        };
        let given = |waiting: &Waiting| {
            let WaitingState::Refused(error) = &waiting.state else { return None };
            let typed = waiting.typed.clone()?;
            Some(Refused { id: waiting.id, label: waiting.label.clone(), why: error.message.clone(), typed })
        };
        outbox.with(|outbox| outbox.iter().filter(is_here).filter_map(given).collect::<Vec<_>>())
    });
    let is_empty = Memo::new(move |_| refused.with(Vec::is_empty) && orphans.with(Vec::is_empty));
    move || {
        (!is_empty.get()).then(|| {
            view! {
                <section class="given-back" aria-label="Not saved">
                    <h2>"Not saved"</h2>
                    <ul>
                        <For each=move || refused.get() key=|refused| (refused.id, refused.why.clone()) let:refused>
                            <li>
                                <p>
                                    <strong>{refused.label}</strong>
                                    " "
                                    {refused.why}
                                </p>
                                <Text text=refused.typed.clone() />
                                <Settle id=refused.id typed=Some(refused.typed) matter=Matter::Refusal />
                            </li>
                        </For>
                        <For each=move || orphans.get() key=|orphan| orphan.number let:orphan>
                            <li>
                                <p>
                                    <strong>{orphan.label}</strong>
                                    " This stood here when the field went."
                                </p>
                                <Text text=orphan.text />
                                <div class="sync-actions">
                                    <button
                                        class="button"
                                        type="button"
                                        on:click=move |_| {
                                            orphans.update(|all| all.retain(|other| other.number != orphan.number));
                                        }
                                    >
                                        "Drop"
                                    </button>
                                </div>
                            </li>
                        </For>
                    </ul>
                </section>
            }
        })
    }
}

/// A text to be taken along: it can be marked where it stands, and copied at once.
#[component]
fn Text(text: String) -> impl IntoView {
    let is_copied = RwSignal::new(false);
    let input = NodeRef::<leptos::html::Input>::new();
    let copied = text.clone();
    let copy = move |_| {
        // Marked too: where the page may not reach the clipboard (without https), the person can.
        if let Some(input) = input.get_untracked() {
            drop(input.focus());
            input.select();
        }
        #[cfg(feature = "hydrate")]
        if window().is_secure_context() {
            let copying = window().navigator().clipboard().write_text(&copied);
            leptos::task::spawn_local(async move {
                is_copied.try_set(wasm_bindgen_futures::JsFuture::from(copying).await.is_ok());
            });
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = &copied;
    };
    view! {
        <div class="joined">
            <input class="input" aria-label="What you typed" readonly value=text node_ref=input />
            <button class="button" type="button" on:click=copy>
                {icon(Icon::Copy)}
                {move || if is_copied.get() { "Copied" } else { "Copy" }}
            </button>
        </div>
    }
}
