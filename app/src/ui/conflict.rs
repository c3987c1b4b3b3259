//! A field that the person and somebody else changed to different values: both are shown, and the person decides. At the
//! field, and in the sync panel.

use super::time::When;
use leptos::prelude::*;
use millstream::client::{Waiting, WaitingState};
use millstream::hooks::{Decision, decide, edit, use_outbox};
use millstream::{ApiError, Dispute, MutationId};
use uuid::Uuid;

/// A refused mutation, as far as deciding about it needs.
#[derive(Clone, PartialEq)]
struct Refused {
    id: MutationId,
    typed: Option<String>,
    dispute: Dispute,
}

/// The conflicts over a row, or over one field of it; nothing where there is none.
#[component]
pub fn Conflict(#[prop(into)] row: Signal<Uuid>, #[prop(optional)] field: Option<&'static str>) -> impl IntoView {
    let outbox = use_outbox();
    let refused = Memo::new(move |_| {
        let row = row.get();
        let is_here = |dispute: &Dispute| dispute.row == row && field.is_none_or(|field| field == dispute.field);
        outbox.with(|outbox| {
            let each = |waiting: &Waiting| {
                let (id, typed) = (waiting.id, waiting.typed.clone());
                let here: Vec<_> = waiting.disputes.iter().filter(|dispute| is_here(dispute)).cloned().collect();
                here.into_iter().map(move |dispute| Refused { id, typed: typed.clone(), dispute })
            };
            outbox.iter().flat_map(each).collect::<Vec<_>>()
        })
    });
    view! {
        <For
            each=move || refused.get()
            key=|refused| (refused.id, refused.dispute.field)
            children=|Refused { id, typed, dispute: disputed }| {
                let (row, field) = (disputed.row, disputed.field);
                let settled = Callback::new(move |()| focus(row, field));
                view! {
                    <div class="conflict" role="group" aria-label=format!("Conflict over the {field}") data-row=row.to_string()>
                        <p role="status">
                            {match &disputed.by {
                                Some(by) => format!("{by} changed the {field} too. Which is to stay?"),
                                None => format!("The {field} was changed by somebody else too. Which is to stay?"),
                            }}
                        </p>
                        {dispute(disputed)}
                        <Settle id typed matter=Matter::Dispute settled />
                    </div>
                }
            }
        />
    }
}

/// Both values of a field, and whose the other one is.
pub fn dispute(dispute: Dispute) -> AnyView {
    let Dispute { field, mine, theirs, by, at, .. } = dispute;
    view! {
        <dl class="dispute">
            <dt>{format!("Your {field}")}</dt>
            <dd>{mine}</dd>
            <dt>{by.map_or_else(|| format!("The {field} now"), |by| format!("{by}’s {field}"))}</dt>
            <dd>
                {theirs}
                {at
                    .map(|at| {
                        view! {
                            <small>
                                <When at=Signal::derive(move || at) />
                            </small>
                        }
                    })}
            </dd>
        </dl>
    }
    .into_any()
}

/// What the person is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Matter {
    /// Which of two values is to stay.
    Dispute,
    /// What is to become of something that the server would not do.
    Refusal,
}

/// What can be done about a refused mutation. `settled` is called before it is done: with the mutation goes what stands
/// here, and the focus in it.
#[component]
pub fn Settle(
    id: MutationId,
    typed: Option<String>,
    matter: Matter,
    #[prop(optional)] settled: Option<Callback<()>>,
) -> impl IntoView {
    let settle = move || {
        if let Some(settled) = settled {
            settled.run(());
        }
    };
    let act = move |decision| {
        move |_| {
            settle();
            decide(id, decision);
        }
    };
    let edited = RwSignal::new(None::<String>);
    let error = RwSignal::new(None::<ApiError>);
    let can_edit = typed.is_some();
    let begin = move |_| edited.set(Some(typed.clone().unwrap_or_default()));
    let input = NodeRef::<leptos::html::Input>::new();
    // The person asked for it: what they type next goes there.
    Effect::new(move |_| {
        if let Some(input) = input.get() {
            drop(input.focus());
            input.select();
        }
    });
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let text = edited.get_untracked().unwrap_or_default().trim().to_owned();
        if text.is_empty() {
            return;
        }
        match edit(id, &text) {
            Ok(()) => settle(),
            Err(why) => error.set(Some(why)),
        }
    };
    let on_key = move |event: leptos::ev::KeyboardEvent| {
        if event.key() == "Escape" {
            // Not for the panel that this may stand in.
            event.prevent_default();
            event.stop_propagation();
            edited.set(None);
        }
    };
    let begin = StoredValue::new(begin);
    move || {
        if edited.with(Option::is_some) {
            view! {
                <form class="joined" on:submit=save>
                    <input
                        class="input"
                        aria-label="Your text"
                        autocomplete="off"
                        node_ref=input
                        prop:value=move || edited.get().unwrap_or_default()
                        on:input:target=move |event| edited.set(Some(event.target().value()))
                        on:keydown=on_key
                    />
                    <button class="button" data-kind="primary">
                        "Save"
                    </button>
                    <button class="button" type="button" on:click=move |_| edited.set(None)>
                        "Cancel"
                    </button>
                </form>
                {move || error.get().map(|error| view! { <p class="alert" role="alert">{error.message}</p> })}
            }
            .into_any()
        } else {
            let decisions = if matter == Matter::Dispute {
                view! {
                    <button class="button" data-kind="primary" type="button" on:click=act(Decision::KeepMine)>
                        "Keep mine"
                    </button>
                    <button class="button" type="button" on:click=act(Decision::Drop)>
                        "Take theirs"
                    </button>
                }
                .into_any()
            } else {
                view! {
                    <button class="button" type="button" on:click=act(Decision::Retry)>
                        "Try again"
                    </button>
                    <button class="button" data-tone="danger" type="button" on:click=act(Decision::Drop)>
                        "Drop"
                    </button>
                }
                .into_any()
            };
            view! {
                <div class="sync-actions">
                    {decisions}
                    {can_edit
                        .then(|| {
                            view! {
                                <button
                                    class="button"
                                    type="button"
                                    on:click=move |event| begin.with_value(|begin| begin(event))
                                >
                                    "Edit"
                                </button>
                            }
                        })}
                </div>
            }
            .into_any()
        }
    }
}

/// Whether there is a conflict over the row.
pub fn use_disputed(row: Uuid) -> Memo<bool> {
    let outbox = use_outbox();
    Memo::new(move |_| {
        outbox.with(|all| all.iter().any(|waiting| waiting.disputes.iter().any(|dispute| dispute.row == row)))
    })
}

/// Whether a mutation has been refused.
pub fn is_refused(waiting: &Waiting) -> bool {
    matches!(waiting.state, WaitingState::Refused(_))
}

/// Gives the focus to the field that was disputed.
fn focus(row: Uuid, field: &str) {
    #[cfg(feature = "hydrate")]
    {
        use leptos::wasm_bindgen::JsCast;
        let control = format!("[data-row=\"{row}\"][data-field=\"{field}\"]");
        let found = document().query_selector(&format!("{control}:is(input, select), {control} :is(input, select)"));
        let control = found.ok().flatten().and_then(|control| control.dyn_into::<leptos::web_sys::HtmlElement>().ok());
        // A control that is in the page takes the focus; where there is none, the page keeps it.
        drop(control.map(|control| control.focus()));
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (row, field);
}
