//! One order: its title, status, assignee, customer, due date and lines, all edited where they stand.

use super::lines::Lines;
use super::mutations::{DeleteOrder, RestoreOrder, UpdateOrder};
use super::{Order, OrderChanges, OrderId, Orders, Status};
use crate::change::Change;
use crate::customers::{Customer, Customers};
use crate::tenancy::{Action, Member, Members, Module};
use crate::ui::choice::{Choice, Entry};
use crate::ui::conflict::Conflict;
use crate::ui::deleting::Delete;
use crate::ui::editing::InPlace;
use crate::ui::feedback::{failure, loading};
use crate::ui::given_back::{GivenBack, Orphans, Which};
use crate::ui::gone::Gone;
use crate::ui::presence::{FieldMark, HereAtRecord, be_at_record};
use crate::ui::shell::{Place, go};
use crate::ui::time::{When, from_input};
use crate::ui::tint::{Touch, use_tint};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use millstream::hooks::{LiveQuery, mutate, use_list, use_record};
use millstream::live::NoParameters;
use millstream::{Kind, Live, PersonId};

#[component]
pub fn OrderPage() -> impl IntoView {
    let place = expect_context::<Place>();
    let parameters = use_params_map();
    let id = Memo::new(move |_| {
        let text = parameters.with(|parameters| parameters.get("order"));
        text.and_then(|text| text.parse().ok()).unwrap_or(OrderId(uuid::Uuid::nil()))
    });
    // All queries of the page stand here, outside of its `Suspense`, which may walk what is inside it more than once:
    // server and browser have to count the same.
    let order = use_record::<Orders>(move || place.id(), move || id.get());
    let members = use_list::<Members>(move || place.id(), NoParameters::default);
    let customers = use_list::<Customers>(move || place.id(), NoParameters::default);
    be_at_record(Orders::TABLE, Signal::derive(move || id.get().0));
    Orphans::provide();
    let which = RwSignal::new(Which::Undisputed);
    view! {
        <main class="page" id="main" tabindex="-1">
            <GivenBack record=Signal::derive(move || id.get().0) which />
            <Suspense fallback=|| loading("the order")>
                {
                    // The last order that was here stays in view when it is deleted under one's eyes.
                    let state = Memo::new(move |_| order.get().map(|order| order.map(|order| order.row.id)));
                    let last = Memo::new(move |before: Option<&Option<Order>>| {
                        let now = order.get().and_then(Result::ok);
                        now.or(before.cloned().flatten().filter(|order| order.row.id == id.get()))
                    });
                    Effect::new(move |_| {
                        let is_there = state.get().is_none_or(|state| state.is_ok());
                        which.set(if is_there { Which::Undisputed } else { Which::All });
                    });
                    move || {
                        let view = match (state.get()?, last.with_untracked(Option::is_some)) {
                            (Ok(_), _) => view! { <Sheet order last members customers /> }.into_any(),
                            (Err(error), true) if error.kind == Kind::NotFound => {
                                view! { <Deleted last /> }.into_any()
                            }
                            (Err(error), _) => {
                                view! {
                                    <Title text="Order" />
                                    {failure(&error, move || order.retry())}
                                    <p>
                                        <a href=place.path("orders")>"All orders"</a>
                                    </p>
                                }
                                    .into_any()
                            }
                        };
                        Some(view)
                    }
                }
            </Suspense>
        </main>
    }
}

/// What is left of an order that somebody has deleted.
#[component]
fn Deleted(last: Memo<Option<Order>>) -> impl IntoView {
    let place = expect_context::<Place>();
    let what = last.with_untracked(|order| {
        order.as_ref().map(|order| format!("{} “{}”", order.row.number.as_deref().unwrap_or_default(), order.row.title))
    });
    let bring_back = Callback::new(move |()| {
        if let Some(order) = last.get_untracked() {
            mutate(RestoreOrder { organization: place.organization.get_untracked(), order, by: place.author() });
        }
    });
    let restore = Signal::derive(move || place.may(Module::Sales, Action::Delete).then_some(bring_back));
    view! {
        <Title text="Deleted order" />
        <Gone what=what.unwrap_or_default() back=place.path("orders") others="All orders" restore />
    }
}

#[component]
fn Sheet(
    order: LiveQuery<Order>,
    last: Memo<Option<Order>>,
    members: LiveQuery<Vec<Member>>,
    customers: LiveQuery<Vec<Customer>>,
) -> impl IntoView {
    let place = expect_context::<Place>();
    // Only shown while there is an order; `last` keeps it for the moment in which it goes.
    let part = |read: fn(&Order) -> String| {
        Memo::new(move |_| last.with(|order| order.as_ref().map(read).unwrap_or_default()))
    };
    let id = last.with_untracked(|order| order.as_ref().map(|order| order.row.id.0)).unwrap_or_default();
    let number = part(|order| order.row.number.clone().unwrap_or_default());
    let title: Signal<String> = Signal::from(part(|order| order.row.title.clone()));
    let may_change: Signal<bool> = Signal::from(Memo::new(move |_| place.may(Module::Sales, Action::Update)));
    let touch = Memo::new(move |_| {
        last.with(|order| {
            order.as_ref().map(|order| Touch {
                at: order.row.updated_at,
                by: order.row.updated_by,
                name: order.row.updated_by_name.clone(),
            })
        })
    });
    let tint = use_tint(touch.into(), place.person(), None);
    let rename = move |(from, to): (String, String)| {
        change(place, last, None, |changes| changes.title = Some(Change { from, to }));
    };
    view! {
        <Title text=move || format!("{} {}", number.get(), title.get()) />
        <header class="page-header">
            <nav class="breadcrumb" aria-label="Breadcrumb">
                <ol>
                    <li>
                        <a href=place.path("orders")>"Orders"</a>
                    </li>
                    <li aria-current="page">
                        {move || {
                            let number = number.get();
                            if number.is_empty() {
                                view! { <span class="number" data-new="">"new"</span> }.into_any()
                            } else {
                                view! { <span class="number">{number}</span> }.into_any()
                            }
                        }}
                    </li>
                </ol>
            </nav>
            <HereAtRecord record=id />
            {move || place.may(Module::Sales, Action::Delete).then(|| view! { <DeleteOrderButton last /> })}
        </header>
        {move || {
            order
                .error()
                .map(|error| {
                    view! {
                        <div class="banner" data-kind="error" role="status">
                            <p>{error.message}</p>
                            <button class="button" type="button" on:click=move |_| order.retry()>
                                "Try again"
                            </button>
                        </div>
                    }
                })
        }}
        <article class="record">
            <div class="record-title">
                <h1 class="visually-hidden">{move || format!("{}, {}", number.get(), title.get())}</h1>
                <InPlace
                    value=title
                    commit=Callback::new(rename)
                    label="Title".to_owned()
                    most=200
                    is_readonly=Signal::derive(move || !may_change.get())
                    tint
                    field=(id, "title")
                />
                <Conflict row=id field="title" />
            </div>
            <Details last members customers may_change tint />
            <div class="record-main">
                <Lines last may_change />
            </div>
        </article>
    }
}

/// Sends a change of the order that is shown.
fn change(place: Place, last: Memo<Option<Order>>, name: Option<String>, fill: impl FnOnce(&mut OrderChanges)) {
    let Some(row) = last.with_untracked(|order| order.as_ref().map(|order| order.row.clone())) else { return };
    let mut changes = OrderChanges::default();
    fill(&mut changes);
    let name_before = if changes.customer_id.is_some() { Some(row.customer) } else { row.assignee };
    let organization = place.organization.get_untracked();
    mutate(UpdateOrder { organization, id: row.id, changes, name, name_before, by: place.author() });
}

#[component]
fn Details(
    last: Memo<Option<Order>>,
    members: LiveQuery<Vec<Member>>,
    customers: LiveQuery<Vec<Customer>>,
    may_change: Signal<bool>,
    tint: Signal<Option<String>>,
) -> impl IntoView {
    let place = expect_context::<Place>();
    let is_fixed = Signal::derive(move || !may_change.get());
    let row = move || last.get().map(|order| order.row);
    let id = untrack(row).map(|row| row.id.0).unwrap_or_default();

    let statuses = Signal::derive(|| {
        Status::ALL.iter().map(|status| (status.name().to_owned(), status.label().to_owned())).collect::<Vec<Entry>>()
    });
    let set_status = move |name: String| {
        if let (Some(row), Ok(to)) = (row(), name.parse::<Status>())
            && to != row.status
        {
            change(place, last, None, |changes| changes.status = Some(Change { from: row.status, to }));
        }
    };

    // The one who is chosen stands among the entries also where the person may not see the members.
    let people = Signal::derive(move || {
        let mut entries: Vec<Entry> = vec![(String::new(), "Nobody".to_owned())];
        let members = members.get().and_then(Result::ok).unwrap_or_default();
        entries.extend(members.into_iter().map(|member| (member.person_id.to_string(), member.name)));
        with_chosen(entries, row().and_then(|row| Some((row.assignee_id?.to_string(), row.assignee?))))
    });
    let set_assignee = move |id: String| {
        let Some(row) = row() else { return };
        let to: Option<PersonId> = id.parse().ok();
        if to != row.assignee_id {
            let name = name_of(&people.get_untracked(), &id).filter(|_| to.is_some());
            change(place, last, name, |changes| changes.assignee_id = Some(Change { from: row.assignee_id, to }));
        }
    };

    let customer_entries = Signal::derive(move || {
        let customers = customers.get().and_then(Result::ok).unwrap_or_default();
        let entries = customers.into_iter().map(|customer| (customer.id.to_string(), customer.name)).collect();
        with_chosen(entries, row().map(|row| (row.customer_id.to_string(), row.customer)))
    });
    let set_customer = move |id: String| {
        if let (Some(row), Ok(to)) = (row(), id.parse())
            && to != row.customer_id
        {
            let name = name_of(&customer_entries.get_untracked(), &id);
            change(place, last, name, |changes| changes.customer_id = Some(Change { from: row.customer_id, to }));
        }
    };

    let due = Signal::derive(move || row().and_then(|row| row.due_on).map(|due| due.to_string()).unwrap_or_default());
    let set_due = move |text: String| {
        let Some(row) = row() else { return };
        let to = from_input(&text);
        // Half a date is no date yet.
        if to != row.due_on && (to.is_some() || text.is_empty()) {
            change(place, last, None, |changes| changes.due_on = Some(Change { from: row.due_on, to }));
        }
    };

    view! {
        <aside class="record-aside" aria-label="Details">
            <div class="field" data-layout="row" data-row=id.to_string() data-field="status">
                <label for="order-status">"Status"</label>
                <Choice
                    id="order-status"
                    kind="quiet"
                    value=Signal::derive(move || row().map(|row| row.status.name().to_owned()).unwrap_or_default())
                    entries=statuses
                    choose=Callback::new(set_status)
                    is_disabled=is_fixed
                />
                <FieldMark row=id field="status" />
            </div>
            <Conflict row=id field="status" />
            <div class="field" data-layout="row" data-row=id.to_string() data-field="assignee">
                <label for="order-assignee">"Assignee"</label>
                <Choice
                    id="order-assignee"
                    kind="quiet"
                    value=Signal::derive(move || {
                        row().and_then(|row| row.assignee_id).map(|id| id.to_string()).unwrap_or_default()
                    })
                    entries=people
                    choose=Callback::new(set_assignee)
                    is_disabled=is_fixed
                />
                <FieldMark row=id field="assignee" />
            </div>
            <Conflict row=id field="assignee" />
            <div class="field" data-layout="row" data-row=id.to_string() data-field="customer">
                <label for="order-customer">"Customer"</label>
                <Choice
                    id="order-customer"
                    kind="quiet"
                    value=Signal::derive(move || row().map(|row| row.customer_id.to_string()).unwrap_or_default())
                    entries=customer_entries
                    choose=Callback::new(set_customer)
                    is_disabled=is_fixed
                />
                <FieldMark row=id field="customer" />
            </div>
            <Conflict row=id field="customer" />
            <div class="field" data-layout="row" data-row=id.to_string() data-field="due date">
                <label for="order-due">"Due"</label>
                <input
                    class="input"
                    data-kind="quiet"
                    id="order-due"
                    type="date"
                    disabled=move || is_fixed.get()
                    value=due.get_untracked()
                    prop:value=move || due.get()
                    on:change:target=move |event| set_due(event.target().value())
                />
                <FieldMark row=id field="due date" />
            </div>
            <Conflict row=id field="due date" />
            <footer>
                <p>
                    "Created"
                    {move || last.get().and_then(|order| order.created_by_name).map(|name| format!(" by {name}"))} ", "
                    <When at=Signal::derive(move || row().map(|row| row.created_at).unwrap_or_default()) />
                </p>
                <p>
                    {move || match tint.get() {
                        Some(by) => view! { <span class="hint" data-kind="changed">"Changed by " {by}</span> }.into_any(),
                        None => {
                            view! {
                                "Updated"
                                {move || row().and_then(|row| row.updated_by_name).map(|name| format!(" by {name}"))}
                                ", "
                                <When at=Signal::derive(move || row().map(|row| row.updated_at).unwrap_or_default()) />
                            }
                                .into_any()
                        }
                    }}
                </p>
            </footer>
        </aside>
    }
}

fn with_chosen(mut entries: Vec<Entry>, chosen: Option<Entry>) -> Vec<Entry> {
    if let Some(chosen) = chosen
        && !entries.iter().any(|(id, _)| *id == chosen.0)
    {
        entries.push(chosen);
    }
    entries
}

fn name_of(entries: &[Entry], id: &str) -> Option<String> {
    entries.iter().find(|(other, _)| other == id).map(|(_, name)| name.clone())
}

#[component]
fn DeleteOrderButton(last: Memo<Option<Order>>) -> impl IntoView {
    let place = expect_context::<Place>();
    let go = StoredValue::new(go());
    let delete = move || {
        if let Some(order) = last.get_untracked() {
            mutate(DeleteOrder { organization: place.organization.get_untracked(), order, by: place.author() });
            go.with_value(|go| go(&place.path("orders")));
        }
    };
    let consequence = Signal::derive(move || {
        last.with(|order| {
            order.as_ref().map(|order| {
                let lines = match order.lines.len() {
                    0 => String::new(),
                    1 => " and its line".to_owned(),
                    many => format!(" and its {many} lines"),
                };
                format!("“{}”{lines} will be gone for everyone.", order.row.title)
            })
        })
    });
    view! { <Delete what="order" consequence delete /> }
}
