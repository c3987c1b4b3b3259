//! The lines of an order, edited in place.

use super::mutations::{EditLine, LineEdit, quantity};
use super::{Line, LineChanges, LineId, Order};
use crate::change::Change;
use crate::ui::conflict::{Conflict, use_disputed};
use crate::ui::editing::InPlace;
use crate::ui::feedback::{Toasts, Tone};
use crate::ui::given_back::Orphans;
use crate::ui::icon::{Icon, icon};
use crate::ui::shell::Place;
use crate::ui::tint::{Touch, use_tint};
use leptos::prelude::*;
use millstream::hooks::mutate;

fn edit(place: Place, last: Memo<Option<Order>>, id: LineId, edit: LineEdit) {
    if let Some(order) = last.with_untracked(|order| order.as_ref().map(|order| order.row.id)) {
        let organization = place.organization.get_untracked();
        mutate(EditLine { organization, order, id, edit, by: place.author() });
    }
}

const NO_QUANTITY: &str = "A quantity is a whole number from 1 to 1000000.";

#[component]
pub fn Lines(last: Memo<Option<Order>>, may_change: Signal<bool>) -> impl IntoView {
    let lines = move || last.get().map(|order| order.lines).unwrap_or_default();
    let known = untrack(lines).iter().map(|line| line.updated_at).max();
    view! {
        <section class="section" aria-labelledby="lines">
            <header>
                <h2 id="lines">"Lines " <span class="count">{move || lines().len()}</span></h2>
            </header>
            <div class="frame">
                <table class="table" data-kind="lines">
                    <colgroup>
                        <col data-col="position" />
                        <col />
                        <col data-col="quantity" />
                        <col data-col="unit" />
                        <col data-col="action" />
                    </colgroup>
                    <thead>
                        <tr>
                            <th scope="col">
                                <span class="visually-hidden">"Position"</span>
                            </th>
                            <th scope="col">"Description"</th>
                            <th scope="col" data-align="end">
                                "Quantity"
                            </th>
                            <th scope="col">"Unit"</th>
                            <th scope="col">
                                <span class="visually-hidden">"Remove"</span>
                            </th>
                        </tr>
                    </thead>
                    <tbody>
                        <For each=lines key=|line| line.id let:line>
                            <Row first=line last may_change known=known.or(Some(0)) />
                        </For>
                    </tbody>
                </table>
                {move || may_change.get().then(|| view! { <AddLine last /> })}
            </div>
        </section>
    }
}

#[component]
fn Row(first: Line, last: Memo<Option<Order>>, may_change: Signal<bool>, known: Option<i64>) -> impl IntoView {
    let place = expect_context::<Place>();
    let toasts = expect_context::<Toasts>();
    let id = first.id;
    let line = Memo::new(move |before: Option<&Line>| {
        let found =
            last.with(|order| order.as_ref().and_then(|order| order.lines.iter().find(|line| line.id == id).cloned()));
        found.or(before.cloned()).unwrap_or_else(|| first.clone())
    });
    let touch = Signal::derive(move || {
        line.with(|line| Some(Touch { at: line.updated_at, by: line.updated_by, name: line.updated_by_name.clone() }))
    });
    let tint = use_tint(touch, place.person(), known);
    let is_readonly = Signal::derive(move || !may_change.get());
    let position = move || line.with(|line| line.position);
    let set = move |changes: LineChanges| edit(place, last, id, LineEdit::Change(changes));
    let set_description = move |(from, to): (String, String)| {
        set(LineChanges { description: Some(Change { from, to }), ..LineChanges::default() });
    };
    let set_unit = move |(from, to): (String, String)| {
        set(LineChanges { unit: Some(Change { from, to }), ..LineChanges::default() });
    };
    let set_quantity = move |(from, to): (String, String)| match (quantity(&from), quantity(&to)) {
        (Some(from), Some(to)) => {
            set(LineChanges { quantity: Some(Change { from, to }), ..LineChanges::default() });
        }
        _ => toasts.say(Tone::Error, NO_QUANTITY),
    };
    let is_disputed = use_disputed(id.0);
    let remove = move |_| edit(place, last, id, LineEdit::Remove(line.get_untracked()));
    view! {
        <tr data-id=id.to_string() data-changed=move || tint.get().map(|_| "")>
            <td data-cell="position">{position}</td>
            <td data-cell="description">
                <InPlace
                    class="input"
                    kind="quiet"
                    value=Signal::derive(move || line.with(|line| line.description.clone()))
                    commit=Callback::new(set_description)
                    label=Signal::derive(move || format!("Description of line {}", position()))
                    most=500
                    is_readonly
                    field=(id.0, "description")
                />
            </td>
            <td data-cell="quantity">
                <InPlace
                    class="input"
                    kind="quiet"
                    align="end"
                    inputmode="numeric"
                    value=Signal::derive(move || line.with(|line| line.quantity.to_string()))
                    commit=Callback::new(set_quantity)
                    label=Signal::derive(move || format!("Quantity of line {}", position()))
                    most=7
                    is_readonly
                    field=(id.0, "quantity")
                />
            </td>
            <td data-cell="unit">
                <InPlace
                    class="input"
                    kind="quiet"
                    value=Signal::derive(move || line.with(|line| line.unit.clone()))
                    commit=Callback::new(set_unit)
                    label=Signal::derive(move || format!("Unit of line {}", position()))
                    most=20
                    is_readonly
                    field=(id.0, "unit")
                />
            </td>
            <td data-cell="action">
                {move || {
                    may_change
                        .get()
                        .then(|| {
                            view! {
                                <button
                                    class="button"
                                    data-kind="icon"
                                    data-tone="danger"
                                    type="button"
                                    aria-label=move || format!("Remove line {}", position())
                                    on:click=remove
                                >
                                    {icon(Icon::Trash)}
                                </button>
                            }
                        })
                }}
            </td>
        </tr>
        {move || {
            is_disputed
                .get()
                .then(|| {
                    view! {
                        <tr class="conflict-row">
                            <td colspan="5">
                                <Conflict row=id.0 />
                            </td>
                        </tr>
                    }
                })
        }}
    }
}

#[component]
fn AddLine(last: Memo<Option<Order>>) -> impl IntoView {
    let place = expect_context::<Place>();
    let toasts = expect_context::<Toasts>();
    let (description, amount, unit) =
        (RwSignal::new(String::new()), RwSignal::new(String::new()), RwSignal::new(String::new()));
    let first = NodeRef::<leptos::html::Input>::new();
    if let Some(orphans) = use_context::<Orphans>() {
        on_cleanup(move || {
            let text = description.try_get_untracked().unwrap_or_default();
            if !text.trim().is_empty() {
                orphans.take_in("New line".to_owned(), text);
            }
        });
    }
    let add = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let text = description.get_untracked().trim().to_owned();
        if text.is_empty() {
            return;
        }
        let typed = amount.get_untracked();
        let Some(quantity) = quantity(if typed.trim().is_empty() { "1" } else { &typed }) else {
            toasts.say(Tone::Error, NO_QUANTITY);
            return;
        };
        let typed = unit.get_untracked().trim().to_owned();
        let unit_text = if typed.is_empty() { "pcs".to_owned() } else { typed };
        edit(
            place,
            last,
            LineId::fresh(),
            LineEdit::Add { description: text, quantity, unit: unit_text, position: None },
        );
        description.set(String::new());
        amount.set(String::new());
        unit.set(String::new());
        // Ready for the next one.
        if let Some(first) = first.get_untracked() {
            drop(first.focus());
        }
    };
    view! {
        <form class="add-line" aria-label="Add a line" on:submit=add>
            <input
                class="input"
                aria-label="Description"
                placeholder="Add a line…"
                maxlength="500"
                autocomplete="off"
                node_ref=first
                prop:value=move || description.get()
                on:input:target=move |event| description.set(event.target().value())
            />
            <input
                class="input"
                data-align="end"
                inputmode="numeric"
                aria-label="Quantity"
                placeholder="1"
                maxlength="7"
                autocomplete="off"
                prop:value=move || amount.get()
                on:input:target=move |event| amount.set(event.target().value())
            />
            <input
                class="input"
                aria-label="Unit"
                placeholder="pcs"
                maxlength="20"
                autocomplete="off"
                prop:value=move || unit.get()
                on:input:target=move |event| unit.set(event.target().value())
            />
            <button class="button">"Add"</button>
        </form>
    }
}
