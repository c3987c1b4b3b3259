//! One project: its name, its members and its orders.

use super::mutations::{DeleteProject, EditProject, ProjectEdit, RestoreProject};
use super::{Project, ProjectId, ProjectMember, ProjectOrder, ProjectRow, Projects};
use crate::change::Change;
use crate::orders::{OrderPage, OrderParameters, Orders, Sort};
use crate::tenancy::{Action, Member, Members, Module};
use crate::ui::choice::{Choice, Entry};
use crate::ui::conflict::Conflict;
use crate::ui::deleting::Delete;
use crate::ui::editing::InPlace;
use crate::ui::feedback::{failure, loading};
use crate::ui::given_back::{GivenBack, Orphans, Which};
use crate::ui::gone::Gone;
use crate::ui::icon::{Icon, icon};
use crate::ui::person::person;
use crate::ui::presence::{HereAtRecord, be_at_record};
use crate::ui::shell::{Place, go};
use crate::ui::tint::{Touch, use_tint};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_params_map;
use millstream::hooks::{LiveQuery, mutate, use_list, use_record};
use millstream::live::NoParameters;
use millstream::pages::PageOf;
use millstream::{Kind, Live};

#[component]
pub fn ProjectPage() -> impl IntoView {
    let place = expect_context::<Place>();
    let parameters = use_params_map();
    let id = Memo::new(move |_| {
        let text = parameters.with(|parameters| parameters.get("project"));
        text.and_then(|text| text.parse().ok()).unwrap_or(ProjectId(uuid::Uuid::nil()))
    });
    // All queries of the page stand here, outside of its `Suspense`: see the order's page.
    let project = use_record::<Projects>(move || place.id(), move || id.get());
    let recent = use_list::<Orders>(
        move || place.id(),
        || OrderParameters { status: None, customer_id: None, sort: Sort::Updated, page: PageOf::First },
    );
    let everybody = use_list::<Members>(move || place.id(), NoParameters::default);
    be_at_record(Projects::TABLE, Signal::derive(move || id.get().0));
    Orphans::provide();
    let which = RwSignal::new(Which::Undisputed);
    view! {
        <main class="page" id="main" tabindex="-1">
            <GivenBack record=Signal::derive(move || id.get().0) which />
            <Suspense fallback=|| loading("the project")>
                {
                    let state = Memo::new(move |_| project.get().map(|project| project.map(|project| project.id)));
                    let last = Memo::new(move |before: Option<&Option<Project>>| {
                        let now = project.get().and_then(Result::ok);
                        now.or(before.cloned().flatten().filter(|project| project.id == id.get()))
                    });
                    Effect::new(move |_| {
                        let is_there = state.get().is_none_or(|state| state.is_ok());
                        which.set(if is_there { Which::Undisputed } else { Which::All });
                    });
                    move || {
                        let view = match (state.get()?, last.with_untracked(Option::is_some)) {
                            (Ok(_), _) => view! { <Sheet last recent everybody /> }.into_any(),
                            (Err(error), true) if error.kind == Kind::NotFound => {
                                view! { <Deleted last /> }.into_any()
                            }
                            (Err(error), _) => {
                                view! {
                                    {failure(&error, move || project.retry())}
                                    <p>
                                        <a href=place.path("projects")>"All projects"</a>
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

/// What is left of a project that somebody has deleted.
#[component]
fn Deleted(last: Memo<Option<Project>>) -> impl IntoView {
    let place = expect_context::<Place>();
    let what = last.with_untracked(|project| project.as_ref().map(|project| format!("“{}”", project.name)));
    let bring_back = Callback::new(move |()| {
        if let Some(project) = last.get_untracked() {
            mutate(RestoreProject { organization: place.organization.get_untracked(), project, by: place.author() });
        }
    });
    let restore = Signal::derive(move || place.may(Module::Projects, Action::Delete).then_some(bring_back));
    view! {
        <Title text="Deleted project" />
        <Gone what=what.unwrap_or_default() back=place.path("projects") others="All projects" restore />
    }
}

/// Sends a change of the project that is shown.
fn edit(place: Place, last: Memo<Option<Project>>, edit: ProjectEdit) {
    if let Some(id) = last.with_untracked(|project| project.as_ref().map(|project| project.id)) {
        mutate(EditProject { organization: place.organization.get_untracked(), id, edit, by: place.author() });
    }
}

#[component]
fn Sheet(
    last: Memo<Option<Project>>,
    recent: LiveQuery<OrderPage>,
    everybody: LiveQuery<Vec<Member>>,
) -> impl IntoView {
    let place = expect_context::<Place>();
    let id = last.with_untracked(|project| project.as_ref().map(|project| project.id.0)).unwrap_or_default();
    let name = Signal::derive(move || {
        last.with(|project| project.as_ref().map(|project| project.name.clone()).unwrap_or_default())
    });
    let may_change = Signal::derive(move || place.may(Module::Projects, Action::Update));
    let touch = Signal::derive(move || {
        last.with(|project| {
            project.as_ref().map(|project| Touch {
                at: project.updated_at,
                by: project.updated_by,
                name: project.updated_by_name.clone(),
            })
        })
    });
    let tint = use_tint(touch, place.person(), None);
    let rename = move |(from, to): (String, String)| edit(place, last, ProjectEdit::Rename(Change { from, to }));
    let is_archived = Signal::derive(move || last.with(|project| project.as_ref().is_some_and(|it| it.archived)));
    let archive = move |_| {
        if let Some(row) = last.with_untracked(|project| project.as_ref().map(ProjectRow::from)) {
            let from = row.archived;
            edit(place, last, ProjectEdit::Archive(Change { from, to: !from }, row));
        }
    };
    view! {
        <Title text=move || name.get() />
        <header class="page-header">
            <nav class="breadcrumb" aria-label="Breadcrumb">
                <ol>
                    <li>
                        <a href=place.path("projects")>"Projects"</a>
                    </li>
                    <li aria-current="page">{name}</li>
                </ol>
            </nav>
            <HereAtRecord record=id />
            {move || {
                may_change
                    .get()
                    .then(|| {
                        view! {
                            <button class="button" data-kind="quiet" type="button" on:click=archive>
                                {move || if is_archived.get() { "Unarchive" } else { "Archive" }}
                            </button>
                        }
                    })
            }}
            {move || place.may(Module::Projects, Action::Delete).then(|| view! { <DeleteProjectButton last /> })}
        </header>
        <article class="record" data-layout="even">
            <div class="record-title">
                <h1 class="visually-hidden">{name}</h1>
                <InPlace
                    value=name
                    commit=Callback::new(rename)
                    label="Name".to_owned()
                    most=200
                    is_readonly=Signal::derive(move || !may_change.get())
                    tint
                    field=(id, "name")
                />
                <Conflict row=id field="name" />
                {move || is_archived.get().then(|| view! { <span class="hint">"Archived"</span> })}
            </div>
            <div class="record-main">
                <OrdersOf last recent may_change />
            </div>
            <div class="record-aside">
                <MembersOf last everybody may_change />
            </div>
        </article>
    }
}

#[component]
fn DeleteProjectButton(last: Memo<Option<Project>>) -> impl IntoView {
    let place = expect_context::<Place>();
    let go = StoredValue::new(go());
    let delete = move || {
        if let Some(project) = last.get_untracked() {
            mutate(DeleteProject { organization: place.organization.get_untracked(), project, by: place.author() });
            go.with_value(|go| go(&place.path("projects")));
        }
    };
    let consequence = Signal::derive(move || {
        last.with(|project| {
            project.as_ref().map(|project| {
                let orders = if project.orders.is_empty() { "" } else { " Its orders stay." };
                format!("“{}” will be gone for everyone.{orders}", project.name)
            })
        })
    });
    view! { <Delete what="project" consequence delete /> }
}

#[component]
fn OrdersOf(last: Memo<Option<Project>>, recent: LiveQuery<OrderPage>, may_change: Signal<bool>) -> impl IntoView {
    let place = expect_context::<Place>();
    let orders = move || last.get().map(|project| project.orders).unwrap_or_default();
    let candidates = move || {
        let held: Vec<_> = orders().iter().map(|order| order.order_id).collect();
        let rows = recent.get().and_then(Result::ok).map(|page| page.rows).unwrap_or_default();
        rows.into_iter()
            .filter(|row| !held.contains(&row.id))
            .map(|row| ProjectOrder { order_id: row.id, number: row.number, title: row.title, status: row.status })
            .collect::<Vec<_>>()
    };
    let chosen = RwSignal::new(String::new());
    let entries = Signal::derive(move || {
        let named = |order: ProjectOrder| {
            (order.order_id.to_string(), format!("{} {}", order.number.unwrap_or_default(), order.title))
        };
        std::iter::once((String::new(), "Choose an order…".to_owned()))
            .chain(candidates().into_iter().map(named))
            .collect::<Vec<Entry>>()
    });
    let add = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let wanted = chosen.get_untracked();
        if let Some(order) = candidates().into_iter().find(|order| order.order_id.to_string() == wanted) {
            edit(place, last, ProjectEdit::AddOrder(order));
            chosen.set(String::new());
        }
    };
    view! {
        <section class="section" aria-labelledby="project-orders">
            <header>
                <h2 id="project-orders">"Orders " <span class="count">{move || orders().len()}</span></h2>
            </header>
            <ul class="roster">
                <For each=orders key=|order| (order.order_id, order.title.clone(), order.status) let:order>
                    {
                        let removed = order.clone();
                        let what = order.title.clone();
                        view! {
                            <li data-id=order.order_id.to_string()>
                                <span class="number">{order.number.clone().unwrap_or_else(|| "new".to_owned())}</span>
                                <a class="row-link label" href=place.path(&format!("orders/{}", order.order_id))>
                                    {order.title.clone()}
                                </a>
                                <span class="badge" data-status=order.status.name()>
                                    {order.status.label()}
                                </span>
                                {move || {
                                    let removed = removed.clone();
                                    may_change
                                        .get()
                                        .then(|| {
                                            view! {
                                                <button
                                                    class="button"
                                                    data-kind="icon"
                                                    data-tone="danger"
                                                    type="button"
                                                    aria-label=format!("Remove {what}")
                                                    on:click=move |_| edit(
                                                        place,
                                                        last,
                                                        ProjectEdit::RemoveOrder(removed.clone()),
                                                    )
                                                >
                                                    {icon(Icon::Close)}
                                                </button>
                                            }
                                        })
                                }}
                            </li>
                        }
                    }
                </For>
            </ul>
            {move || {
                may_change
                    .get()
                    .then(|| {
                        view! {
                            <form class="joined" aria-label="Add an order" on:submit=add>
                                <Choice
                                    value=chosen
                                    entries
                                    choose=Callback::new(move |id| chosen.set(id))
                                    label="Order".to_owned()
                                />
                                <button class="button">"Add order"</button>
                            </form>
                        }
                    })
            }}
        </section>
    }
}

#[component]
fn MembersOf(
    last: Memo<Option<Project>>,
    everybody: LiveQuery<Vec<Member>>,
    may_change: Signal<bool>,
) -> impl IntoView {
    let place = expect_context::<Place>();
    let members = move || last.get().map(|project| project.members).unwrap_or_default();
    let candidates = move || {
        let held: Vec<_> = members().iter().map(|member| member.person_id).collect();
        let all = everybody.get().and_then(Result::ok).unwrap_or_default();
        all.into_iter()
            .filter(|member| !held.contains(&member.person_id))
            .map(|member| ProjectMember { person_id: member.person_id, name: member.name })
            .collect::<Vec<_>>()
    };
    let chosen = RwSignal::new(String::new());
    let entries = Signal::derive(move || {
        std::iter::once((String::new(), "Choose a member…".to_owned()))
            .chain(candidates().into_iter().map(|member| (member.person_id.to_string(), member.name)))
            .collect::<Vec<Entry>>()
    });
    let add = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let wanted = chosen.get_untracked();
        if let Some(member) = candidates().into_iter().find(|member| member.person_id.to_string() == wanted) {
            edit(place, last, ProjectEdit::AddMember(member));
            chosen.set(String::new());
        }
    };
    view! {
        <section class="section" aria-labelledby="project-members">
            <header>
                <h2 id="project-members">"Members " <span class="count">{move || members().len()}</span></h2>
            </header>
            <ul class="roster">
                <For each=members key=|member| member.person_id let:member>
                    {
                        let id = member.person_id;
                        let name = member.name.clone();
                        let removed = member.clone();
                        view! {
                            <li data-id=id.to_string()>
                                {person(Some((id, member.name.clone())))}
                                <span class="detail"></span>
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
                                                    aria-label=format!("Remove {name}")
                                                    on:click={
                                                        let removed = removed.clone();
                                                        move |_| edit(place, last, ProjectEdit::RemoveMember(removed.clone()))
                                                    }
                                                >
                                                    {icon(Icon::Close)}
                                                </button>
                                            }
                                        })
                                }}
                            </li>
                        }
                    }
                </For>
            </ul>
            {move || {
                may_change
                    .get()
                    .then(|| {
                        view! {
                            <form class="joined" aria-label="Add a member" on:submit=add>
                                <Choice
                                    value=chosen
                                    entries
                                    choose=Callback::new(move |id| chosen.set(id))
                                    label="Member".to_owned()
                                />
                                <button class="button">"Add member"</button>
                            </form>
                        }
                    })
            }}
        </section>
    }
}
