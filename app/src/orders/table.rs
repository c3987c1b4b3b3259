//! The orders as a table: filters and sort in the address, keyset pages, and what others change moving under one's eyes.

use super::mutations::{CreateOrder, DeleteOrder};
use super::{Order, OrderId, OrderParameters, OrderRow, Orders, Sort, Status};
use crate::customers::{CustomerId, Customers};
use crate::tenancy::{Action, Module};
use crate::ui::choice::{Choice, Entry};
use crate::ui::feedback::{failure, loading, nothing};
use crate::ui::icon::{Icon, icon};
use crate::ui::intent::intend;
use crate::ui::person::person;
use crate::ui::presence::{HereMark, be_at_list};
use crate::ui::rows::use_virtual_rows;
use crate::ui::shell::{Place, go};
use crate::ui::time::{Due, When, from_input, now};
use crate::ui::tint::{Touch, use_tint};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use millstream::connection::State;
use millstream::hooks::{
    End, LivePages, mutate, mutate_all, prefetch_record, use_connection, use_list, use_pages, use_pending,
};
use millstream::live::NoParameters;
use millstream::pages::PageOf;
use millstream::{AnyMutation, Live};
use std::collections::HashSet;
use std::sync::Arc;

impl OrderParameters {
    /// The part of the address that asks for this list.
    fn query(&self) -> String {
        let mut parts = Vec::new();
        if let Some(status) = self.status {
            parts.push(format!("status={}", status.name()));
        }
        if let Some(customer) = self.customer_id {
            parts.push(format!("customer={customer}"));
        }
        if self.sort != Sort::Newest {
            parts.push(format!("sort={}", self.sort.name()));
        }
        match &self.page {
            PageOf::After(start) => parts.push(format!("after={start}")),
            PageOf::UpTo(end) => parts.push(format!("until={end}")),
            // Of what has grown, the address tells the beginning.
            PageOf::First | PageOf::Between(..) => {}
        }
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

/// What the address asks for; what it says wrongly is left out.
fn asked() -> Memo<OrderParameters> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| {
            let get = |name: &str| query.get(name).filter(|text| !text.is_empty());
            let page = match (get("after"), get("until")) {
                (Some(start), _) => PageOf::After(start),
                (None, Some(end)) => PageOf::UpTo(end),
                (None, None) => PageOf::First,
            };
            OrderParameters {
                status: get("status").and_then(|text| text.parse().ok()),
                customer_id: get("customer").and_then(|text| text.parse().ok()),
                sort: get("sort").and_then(|text| text.parse().ok()).unwrap_or(Sort::Newest),
                page,
            }
        })
    })
}

#[component]
pub fn OrdersPage() -> impl IntoView {
    let place = expect_context::<Place>();
    let parameters = asked();
    let orders = use_pages::<Orders>(move || place.id(), move || parameters.get());
    let count = move || {
        let _first = orders.first();
        orders.total().map(|total| total.to_string())
    };
    be_at_list(Orders::TABLE);
    let is_creating = RwSignal::new(false);
    let connection = use_connection();
    let is_cut = move || matches!(connection.state.get(), State::Offline | State::Disconnected);
    view! {
        <Title text="Orders" />
        <main class="page" id="main" tabindex="-1">
            {move || {
                is_cut()
                    .then(|| {
                        view! {
                            <div class="banner" data-kind="offline" role="status">
                                <p>
                                    <strong>"You are offline."</strong>
                                    " What you see may be out of date. What you change is kept, and saved when you are back."
                                </p>
                            </div>
                        }
                    })
            }} <header class="page-header">
                <h1>"Orders " <span class="count"><Suspense fallback=|| ()>{count}</Suspense></span></h1>
                {move || {
                    place
                        .may(Module::Sales, Action::Create)
                        .then(|| {
                            view! {
                                <button
                                    class="button"
                                    data-kind="primary"
                                    type="button"
                                    on:click=move |_| is_creating.set(true)
                                >
                                    {icon(Icon::Plus)}
                                    "New order"
                                </button>
                            }
                        })
                }}
            </header> <Filters parameters />
            <Suspense fallback=|| loading("orders")>
                {
                    let state = Memo::new(move |_| orders.first().map(|first| first.map(|()| orders.is_empty())));
                    move || {
                        let view = match state.get()? {
                            Ok(true) => nothing("No orders here", "Make one, or choose other filters."),
                            Ok(false) => view! { <Table orders parameters /> }.into_any(),
                            Err(error) => failure(&error, move || orders.retry()),
                        };
                        Some(view)
                    }
                }
            </Suspense>
            <NewOrder is_open=is_creating />
        </main>
    }
}

fn any(label: &str) -> Entry {
    (String::new(), label.to_owned())
}

#[component]
fn Filters(parameters: Memo<OrderParameters>) -> impl IntoView {
    let place = expect_context::<Place>();
    let customers = use_list::<Customers>(move || place.id(), NoParameters::default);
    let go = StoredValue::new(go());
    let turn = move |change: &dyn Fn(&mut OrderParameters)| {
        let mut wanted = parameters.get_untracked();
        wanted.page = PageOf::First;
        change(&mut wanted);
        go.with_value(|go| go(&place.path(&format!("orders{}", wanted.query()))));
    };
    let statuses = Signal::derive(|| {
        let all = Status::ALL.iter().map(|status| (status.name().to_owned(), status.label().to_owned()));
        std::iter::once(any("Any")).chain(all).collect::<Vec<_>>()
    });
    let sorts = Signal::derive(|| {
        Sort::ALL.iter().map(|sort| (sort.name().to_owned(), sort.label().to_owned())).collect::<Vec<_>>()
    });
    let status = Signal::derive(move || {
        parameters.with(|asked| asked.status.map(|status| status.name().to_owned()).unwrap_or_default())
    });
    let customer =
        Signal::derive(move || parameters.with(|asked| asked.customer_id.map(|id| id.to_string()).unwrap_or_default()));
    let sort = Signal::derive(move || parameters.with(|asked| asked.sort.name().to_owned()));
    view! {
        <form class="filters" aria-label="Filter orders" method="get">
            <label class="filter" data-active=move || (!status.get().is_empty()).then_some("")>
                <span>"Status"</span>
                <Choice
                    value=status
                    entries=statuses
                    name="status"
                    choose=Callback::new(move |name: String| turn(&|asked| asked.status = name.parse().ok()))
                />
            </label>
            <label class="filter" data-active=move || (!customer.get().is_empty()).then_some("")>
                <span>"Customer"</span>
                <Suspense fallback=|| ()>
                    {move || {
                        customers.get().map(|customers| {
                            let customers = customers.unwrap_or_default();
                            let entries = Signal::derive(move || {
                                let all = customers.iter().map(|customer| (customer.id.to_string(), customer.name.clone()));
                                std::iter::once(any("Any")).chain(all).collect::<Vec<_>>()
                            });
                            view! {
                                <Choice
                                    value=customer
                                    entries
                                    name="customer"
                                    choose=Callback::new(move |id: String| turn(&|asked| asked.customer_id = id.parse().ok()))
                                />
                            }
                        })
                    }}
                </Suspense>
            </label>
            <label class="filter" data-kind="sort">
                <span>"Sort"</span>
                <Choice
                    value=sort
                    entries=sorts
                    name="sort"
                    choose=Callback::new(move |name: String| turn(&|asked| asked.sort = name.parse().unwrap_or(Sort::Newest)))
                />
            </label>
            <noscript>
                <button class="button">"Apply"</button>
            </noscript>
        </form>
    }
}

/// What is in the document of the table.
#[derive(Clone, PartialEq)]
struct Visible {
    start: usize,
    rows: Vec<OrderRow>,
    /// How many rows, and pages, are open.
    of: usize,
    pages: usize,
    /// Whether it is another part of the list than a moment ago. Then what comes in is no news.
    is_turned: bool,
}

#[component]
fn Table(orders: LivePages<Orders>, parameters: Memo<OrderParameters>) -> impl IntoView {
    let place = expect_context::<Place>();
    let body = NodeRef::new();
    let window = use_virtual_rows(body, Memo::new(move |_| orders.len()));
    let visible = Memo::new(move |before: Option<&Visible>| {
        let range = window.in_document.get();
        let (start, pages) = (range.start, orders.opened());
        let is_turned = before.is_none_or(|before| (before.start, before.pages) != (start, pages));
        Visible { start, rows: orders.slice(range), of: orders.len(), pages, is_turned }
    });
    let rows = move || visible.with(|visible| visible.rows.clone());
    Effect::new(move |_| {
        let seen = window.in_view.get();
        let (is_near_top, is_near_bottom) = (seen.start < NEAR, seen.end + NEAR > orders.len());
        orders.look_at(window.in_document.get());
        if is_near_bottom && !orders.is_empty() && is_scrolled() {
            orders.grow(End::Bottom);
        } else if is_near_top && is_scrolled() {
            orders.grow(End::Top);
        }
    });
    // What was there when the list was first shown is no news; what comes in later is, if somebody else touched it.
    let known = StoredValue::new(None::<i64>);
    Effect::new(move |_| {
        parameters.track();
        known.set_value(None);
    });
    Effect::new(move |_| {
        let latest = rows().iter().map(|row| row.updated_at).max();
        if !orders.is_previous() {
            known.set_value(latest.max(known.get_value()));
        }
    });
    let problem = move || {
        orders.error().map(|error| {
            view! {
                <div class="banner" data-kind="error" role="status">
                    <p>{error.message}</p>
                    <button class="button" type="button" on:click=move |_| orders.retry()>
                        "Try again"
                    </button>
                </div>
            }
        })
    };
    let turn_to =
        move |page: PageOf| place.path(&format!("orders{}", OrderParameters { page, ..parameters.get() }.query()));
    let previous = move || orders.beyond(End::Top).map(|place| turn_to(PageOf::UpTo(place)));
    let next = move || orders.beyond(End::Bottom).map(|place| turn_to(PageOf::After(place)));
    let selected = RwSignal::new(HashSet::<OrderId>::new());
    // Another list is another selection.
    Effect::new(move |_| {
        parameters.track();
        selected.update(HashSet::clear);
    });
    view! {
        {problem} <Selection orders selected />
        {move || previous().map(|path| grow_link(orders, End::Top, path))}
        <div class="frame">
            <table
                class="table"
                data-kind="orders"
                aria-busy=move || orders.is_previous().then_some("true")
                aria-rowcount=move || visible.with(|visible| (visible.rows.len() < visible.of).then_some(visible.of + 1))
            >
                <caption class="visually-hidden">"Orders"</caption>
                <colgroup>
                    <col data-col="number" />
                    <col />
                    <col data-col="customer" />
                    <col data-col="status" />
                    <col data-col="assignee" />
                    <col data-col="due" />
                    <col data-col="updated" />
                </colgroup>
                <thead>
                    <tr>
                        <th scope="col">"Number"</th>
                        <th scope="col">"Title"</th>
                        <th scope="col">"Customer"</th>
                        <th scope="col">"Status"</th>
                        <th scope="col">"Assignee"</th>
                        <th scope="col">"Due"</th>
                        <th scope="col">"Updated"</th>
                    </tr>
                </thead>
                <tbody node_ref=body>
                    {spacer(window.above)} <For each=rows key=|row| row.id let:row>
                        <Row first=row visible known selected />
                    </For> {spacer(window.below)}
                </tbody>
            </table>
        </div>
        <nav class="pager" aria-label="Pages">
            <p aria-live="polite">{move || extent(orders)}</p>
            {move || next().map(|path| grow_link(orders, End::Bottom, path))}
        </nav>
    }
}

/// So many rows before an end of what is open, the next page is opened.
const NEAR: usize = 15;

/// Whether the reader has begun to scroll: before that, a page is all that is fetched.
fn is_scrolled() -> bool {
    #[cfg(feature = "hydrate")]
    return leptos::prelude::window().scroll_y().is_ok_and(|by| by > 0.0);
    #[cfg(not(feature = "hydrate"))]
    false
}

/// How much of the list is open.
fn extent(orders: LivePages<Orders>) -> String {
    let (open, total) = (orders.len(), orders.total().unwrap_or_default());
    if orders.is_growing() {
        return "Loading more orders…".to_owned();
    }
    match usize::try_from(total) {
        Ok(total) if total > open => format!("{open} of {total} shown"),
        _ => format!("{open} shown"),
    }
}

/// In the place of rows that are not in the document.
fn spacer(height: Memo<f64>) -> impl IntoView {
    move || {
        (height.get() > 0.0).then(|| {
            view! {
                <tr data-spacer="" aria-hidden="true">
                    <td colspan="7" style:height=move || format!("{}px", height.get())></td>
                </tr>
            }
        })
    }
}

/// What can be done to the selected orders at once; it stands over the list while there are any.
#[component]
fn Selection(orders: LivePages<Orders>, selected: RwSignal<HashSet<OrderId>>) -> impl IntoView {
    let place = expect_context::<Place>();
    // What somebody else has deleted meanwhile, or moved out of the list, is not selected any more.
    let chosen = Memo::new(move |_| {
        selected
            .with(|selected| selected.iter().filter_map(|id| orders.find(id.0, OrderRow::clone)).collect::<Vec<_>>())
    });
    let delete = move |_| {
        let (organization, by) = (place.organization.get_untracked(), place.author());
        let rows = chosen.get_untracked();
        let label = match &rows[..] {
            [row] => format!("Delete “{}”", row.title),
            rows => format!("Delete {} orders", rows.len()),
        };
        // The list does not know who made them, nor their lines: the server puts back what was there.
        let deletions = rows.into_iter().map(|row| {
            let order = Order { row, created_by_name: None, lines: Vec::new() };
            Arc::new(DeleteOrder { organization, order, by: by.clone() }) as AnyMutation
        });
        mutate_all(label, deletions.collect());
        selected.update(HashSet::clear);
    };
    move || {
        let count = chosen.with(Vec::len);
        (count > 0).then(|| {
            view! {
                <div class="selection" role="region" aria-label="Selection">
                    <p role="status">{count} " selected"</p>
                    <button
                        class="button"
                        type="button"
                        on:click=move |_| {
                            let all = untrack(|| orders.slice(0..orders.len()));
                            selected.set(all.iter().map(|row| row.id).collect());
                        }
                    >
                        "Select all"
                    </button>
                    <button class="button" data-tone="danger" type="button" on:click=delete>
                        {icon(Icon::Trash)}
                        "Delete"
                    </button>
                    <button class="button" data-kind="quiet" type="button" on:click=move |_| selected.update(HashSet::clear)>
                        "Clear"
                    </button>
                </div>
            }
        })
    }
}

/// Opens the next page at this end where one is; without the program, it is a page of its own.
fn grow_link(orders: LivePages<Orders>, end: End, path: String) -> impl IntoView {
    let grow = move |event: leptos::ev::MouseEvent| {
        // A new tab is a page of its own too.
        if !(event.ctrl_key() || event.meta_key() || event.shift_key()) {
            event.prevent_default();
            orders.grow(end);
        }
    };
    let (face, label) = match end {
        End::Top => (icon(Icon::Previous), "Show previous"),
        End::Bottom => (icon(Icon::Next), "Show more"),
    };
    view! {
        <a class="button" data-end=if end == End::Top { "top" } else { "bottom" } href=path on:click=grow>
            {face}
            {label}
        </a>
    }
}

#[component]
fn Row(
    first: OrderRow,
    visible: Memo<Visible>,
    known: StoredValue<Option<i64>>,
    selected: RwSignal<HashSet<OrderId>>,
) -> impl IntoView {
    let place = expect_context::<Place>();
    let is_selected = Memo::new(move |_| selected.with(|selected| selected.contains(&first.id)));
    let pick = move |event: leptos::ev::Event| {
        let is_picked = event_target_checked(&event);
        selected.update(|selected| {
            if is_picked {
                selected.insert(first.id);
            } else {
                selected.remove(&first.id);
            }
        });
    };
    let (id, touched_at) = (first.id, first.updated_at);
    let row = Memo::new(move |before: Option<&OrderRow>| {
        let found = visible.with(|visible| visible.rows.iter().find(|row| row.id == id).cloned());
        found.or(before.cloned()).unwrap_or_else(|| first.clone())
    });
    let is_pending = use_pending(move || id.0);
    let touch = Signal::derive(move || {
        row.with(|row| Some(Touch { at: row.updated_at, by: row.updated_by, name: row.updated_by_name.clone() }))
    });
    let is_turned = visible.with_untracked(|visible| visible.is_turned);
    let is_news_after = if is_turned { Some(touched_at) } else { known.get_value() };
    let tint = use_tint(touch, place.person(), is_news_after);
    let fetch_ahead = move || prefetch_record::<Orders>(place.organization.get_untracked(), id);
    // Said only where the document does not have all rows to count.
    let index = move || {
        visible.with(|visible| {
            let place = visible.rows.iter().position(|row| row.id == id)?;
            (visible.rows.len() < visible.of).then_some(visible.start + place + 2)
        })
    };
    let number = move || {
        row.with(|row| match &row.number {
            Some(number) => view! { <span class="number">{number.clone()}</span> }.into_any(),
            None => view! { <span class="number" data-new="">"new"</span> }.into_any(),
        })
    };
    let status = move || row.with(|row| row.status);
    view! {
        <tr
            data-id=id.to_string()
            aria-rowindex=index
            data-pending=move || is_pending.get().then_some("")
            data-changed=move || tint.get().map(|_| "")
            data-selected=move || is_selected.get().then_some("")
        >
            <td data-cell="number">
                {move || {
                    place
                        .may(Module::Sales, Action::Delete)
                        .then(|| {
                            view! {
                                <input
                                    class="pick"
                                    type="checkbox"
                                    aria-label=move || row.with(|row| format!("Select {}", row.title))
                                    prop:checked=move || is_selected.get()
                                    on:change=pick
                                />
                            }
                        })
                }} {number}
            </td>
            <td data-cell="title">
                <div class="named">
                    <a
                        class="row-link"
                        href=place.path(&format!("orders/{id}"))
                        on:pointerenter=move |_| intend(fetch_ahead)
                        on:focus=move |_| intend(fetch_ahead)
                    >
                        {move || row.with(|row| row.title.clone())}
                    </a>
                    <HereMark record=id.0 />
                </div>
            </td>
            <td data-cell="customer">{move || row.with(|row| row.customer.clone())}</td>
            <td data-cell="status">
                <span class="badge" data-status=move || status().name()>
                    {move || status().label()}
                </span>
            </td>
            <td data-cell="assignee">
                {move || {
                    row.with(|row| person(row.assignee_id.map(|id| (id, row.assignee.clone().unwrap_or_default()))))
                }}
            </td>
            <td data-cell="due">
                <Due
                    on=Signal::derive(move || row.with(|row| row.due_on))
                    is_open=Signal::derive(move || {
                        !matches!(status(), Status::Shipped | Status::Completed | Status::Cancelled)
                    })
                />
            </td>
            <td data-cell="updated">
                {move || match tint.get() {
                    Some(by) => view! { <span class="hint" data-kind="changed">{by}</span> }.into_any(),
                    None => {
                        view! { <When at=Signal::derive(move || row.with(|row| row.updated_at)) /> }.into_any()
                    }
                }}
            </td>
        </tr>
    }
}

#[component]
fn NewOrder(is_open: RwSignal<bool>) -> impl IntoView {
    let place = expect_context::<Place>();
    let customers = use_list::<Customers>(move || place.id(), NoParameters::default);
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let title = RwSignal::new(String::new());
    let customer = RwSignal::new(None::<CustomerId>);
    let due = RwSignal::new(String::new());
    let problem = RwSignal::new(None::<&'static str>);
    Effect::new(move |_| {
        if is_open.get()
            && let Some(dialog) = dialog.get()
            && !dialog.open()
        {
            drop(dialog.show_modal());
        }
    });
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let create = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let all = customers.get().and_then(Result::ok).unwrap_or_default();
        let chosen = all.into_iter().find(|one| Some(one.id) == customer.get_untracked());
        let title_text = title.get_untracked().trim().to_owned();
        let Some(chosen) = chosen else {
            problem.set(Some("Choose a customer."));
            return;
        };
        if title_text.is_empty() {
            problem.set(Some("Give it a title."));
            return;
        }
        mutate(CreateOrder {
            organization: place.organization.get_untracked(),
            id: OrderId::fresh(),
            title: title_text,
            customer_id: chosen.id,
            customer: chosen.name,
            due_on: from_input(&due.get_untracked()),
            by: place.author(),
            at: now(),
        });
        title.set(String::new());
        due.set(String::new());
        problem.set(None);
        close();
    };
    let entries = Signal::derive(move || {
        let customers = customers.get().and_then(Result::ok).unwrap_or_default();
        let all = customers.into_iter().map(|customer| (customer.id.to_string(), customer.name));
        std::iter::once(any("Choose a customer…")).chain(all).collect::<Vec<_>>()
    });
    view! {
        <dialog
            class="dialog"
            aria-labelledby="new-order-title"
            node_ref=dialog
            on:close=move |_| is_open.set(false)
        >
            <form class="form" on:submit=create>
                <h2 id="new-order-title">"New order"</h2>
                {move || problem.get().map(|problem| view! { <p class="alert" role="alert">{problem}</p> })}
                <div class="field">
                    <label for="new-order-name">"Title"</label>
                    <input
                        class="input"
                        id="new-order-name"
                        maxlength="200"
                        autocomplete="off"
                        autofocus
                        prop:value=move || title.get()
                        on:input:target=move |event| title.set(event.target().value())
                    />
                </div>
                <div class="field">
                    <label for="new-order-customer">"Customer"</label>
                    <Suspense fallback=|| ()>
                        <Choice
                            id="new-order-customer"
                            value=Signal::derive(move || {
                                customer.get().map(|id| id.to_string()).unwrap_or_default()
                            })
                            entries
                            choose=Callback::new(move |id: String| customer.set(id.parse().ok()))
                        />
                    </Suspense>
                </div>
                <div class="field">
                    <label for="new-order-due">"Due"</label>
                    <input
                        class="input"
                        id="new-order-due"
                        type="date"
                        prop:value=move || due.get()
                        on:input:target=move |event| due.set(event.target().value())
                    />
                    <p class="help">"May be left open."</p>
                </div>
                <footer>
                    <button class="button" type="button" on:click=move |_| close()>
                        "Cancel"
                    </button>
                    <button class="button" data-kind="primary">
                        "Create order"
                    </button>
                </footer>
            </form>
        </dialog>
    }
}
