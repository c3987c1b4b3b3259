//! The organization's projects: the current ones, or the archived ones where the address asks for them.

use super::mutations::{EditProject, ProjectEdit};
use super::{ProjectId, ProjectParameters, ProjectRow, Projects};
use crate::tenancy::{Action, Module};
use crate::ui::choice::{Choice, Entry};
use crate::ui::feedback::{failure, loading, nothing};
use crate::ui::icon::{Icon, icon};
use crate::ui::person::avatar;
use crate::ui::presence::{HereMark, be_at_list};
use crate::ui::shell::{Place, go};
use crate::ui::time::When;
use crate::ui::tint::{Touch, use_tint};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use millstream::Live;
use millstream::hooks::{LiveQuery, mutate, use_list, use_pending};

/// What the address asks for.
fn asked() -> Memo<ProjectParameters> {
    let query = use_query_map();
    Memo::new(move |_| {
        query.with(|query| ProjectParameters { archived: query.get("archived").as_deref() == Some("true") })
    })
}

#[component]
pub fn ProjectsPage() -> impl IntoView {
    let place = expect_context::<Place>();
    let parameters = asked();
    let projects = use_list::<Projects>(move || place.id(), move || parameters.get());
    be_at_list(Projects::TABLE);
    let is_creating = RwSignal::new(false);
    let count = move || match projects.get() {
        Some(Ok(projects)) => projects.len().to_string(),
        _ => String::new(),
    };
    view! {
        <Title text="Projects" />
        <main class="page" id="main" tabindex="-1">
            <header class="page-header">
                <h1>"Projects " <span class="count"><Suspense fallback=|| ()>{count}</Suspense></span></h1>
                {move || {
                    place
                        .may(Module::Projects, Action::Create)
                        .then(|| {
                            view! {
                                <button
                                    class="button"
                                    data-kind="primary"
                                    type="button"
                                    on:click=move |_| is_creating.set(true)
                                >
                                    {icon(Icon::Plus)}
                                    "New project"
                                </button>
                            }
                        })
                }}
            </header>
            <Filters parameters />
            <Suspense fallback=|| loading("projects")>
                {
                    let state = Memo::new(move |_| {
                        projects.get().map(|projects| projects.map(|projects| projects.is_empty()))
                    });
                    move || {
                        let view = match state.get()? {
                            Ok(true) if parameters.get().archived => {
                                nothing("No archived projects", "What is done can be archived on its page, and is found here then.")
                            }
                            Ok(true) => nothing("No projects yet", "A project gathers orders and the people who work on them."),
                            Ok(false) => view! { <Table projects parameters /> }.into_any(),
                            Err(error) => failure(&error, move || projects.retry()),
                        };
                        Some(view)
                    }
                }
            </Suspense>
            <NewProject is_open=is_creating />
        </main>
    }
}

#[component]
fn Filters(parameters: Memo<ProjectParameters>) -> impl IntoView {
    let place = expect_context::<Place>();
    let go = StoredValue::new(go());
    let archived = Signal::derive(move || if parameters.get().archived { "true".to_owned() } else { String::new() });
    let entries = Signal::derive(|| {
        [("", "Current"), ("true", "Archived")].map(|(value, label)| (value.to_owned(), label.to_owned())).to_vec()
            as Vec<Entry>
    });
    let turn = move |archived: String| {
        let query = if archived.is_empty() { "" } else { "?archived=true" };
        go.with_value(|go| go(&place.path(&format!("projects{query}"))));
    };
    view! {
        <form class="filters" aria-label="Filter projects" method="get">
            <label class="filter" data-active=move || parameters.get().archived.then_some("")>
                <span>"Show"</span>
                <Choice value=archived entries name="archived" choose=Callback::new(turn) />
            </label>
            <noscript>
                <button class="button">"Apply"</button>
            </noscript>
        </form>
    }
}

#[component]
fn Table(projects: LiveQuery<Vec<ProjectRow>>, parameters: Memo<ProjectParameters>) -> impl IntoView {
    let all = Memo::new(move |before: Option<&Vec<ProjectRow>>| {
        projects.get().and_then(Result::ok).or(before.cloned()).unwrap_or_default()
    });
    let known = StoredValue::new(None::<i64>);
    Effect::new(move |_| {
        parameters.track();
        known.set_value(None);
    });
    Effect::new(move |_| {
        let latest = all.with(|all| all.iter().map(|project| project.updated_at).max());
        if !projects.is_previous() {
            known.set_value(latest.max(known.get_value()));
        }
    });
    view! {
        <div class="frame">
            <table class="table" data-kind="projects">
                <caption class="visually-hidden">"Projects"</caption>
                <colgroup>
                    <col />
                    <col data-col="people" />
                    <col data-col="orders" />
                    <col data-col="updated" />
                </colgroup>
                <thead>
                    <tr>
                        <th scope="col">"Name"</th>
                        <th scope="col">"Members"</th>
                        <th scope="col">"Orders"</th>
                        <th scope="col">"Updated"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || all.get() key=|project| project.id let:project>
                        <Row first=project all known />
                    </For>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn Row(first: ProjectRow, all: Memo<Vec<ProjectRow>>, known: StoredValue<Option<i64>>) -> impl IntoView {
    let place = expect_context::<Place>();
    let id = first.id;
    let project = Memo::new(move |before: Option<&ProjectRow>| {
        let found = all.with(|all| all.iter().find(|project| project.id == id).cloned());
        found.or(before.cloned()).unwrap_or_else(|| first.clone())
    });
    let is_pending = use_pending(move || id.0);
    let touch = Signal::derive(move || {
        project.with(|project| {
            Some(Touch { at: project.updated_at, by: project.updated_by, name: project.updated_by_name.clone() })
        })
    });
    let tint = use_tint(touch, place.person(), known.get_value());
    let faces = move || {
        project.with(|project| {
            let label = match project.members.len() {
                0 => "No members".to_owned(),
                1 => "1 member".to_owned(),
                many => format!("{many} members"),
            };
            let faces =
                project.members.iter().take(5).map(|member| avatar(member.person_id, &member.name)).collect_view();
            view! {
                <span class="avatars" role="img" aria-label=label>
                    {if project.members.is_empty() { "–".into_any() } else { faces.into_any() }}
                </span>
            }
        })
    };
    view! {
        <tr
            data-id=id.to_string()
            data-pending=move || is_pending.get().then_some("")
            data-changed=move || tint.get().map(|_| "")
        >
            <td data-cell="name">
                <div class="named">
                    <a class="row-link" href=place.path(&format!("projects/{id}"))>
                        {move || project.with(|project| project.name.clone())}
                    </a>
                    <HereMark record=id.0 />
                </div>
            </td>
            <td data-cell="people">{faces}</td>
            <td data-cell="orders" data-single=move || project.with(|project| (project.orders == 1).then_some(""))>{move || project.with(|project| project.orders)}</td>
            <td data-cell="updated">
                {move || match tint.get() {
                    Some(by) => view! { <span class="hint" data-kind="changed">{by}</span> }.into_any(),
                    None => {
                        view! { <When at=Signal::derive(move || project.with(|project| project.updated_at)) /> }
                            .into_any()
                    }
                }}
            </td>
        </tr>
    }
}

#[component]
fn NewProject(is_open: RwSignal<bool>) -> impl IntoView {
    let place = expect_context::<Place>();
    let dialog = NodeRef::<leptos::html::Dialog>::new();
    let name = RwSignal::new(String::new());
    let go = StoredValue::new(go());
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
        let text = name.get_untracked().trim().to_owned();
        if text.is_empty() {
            return;
        }
        let id = ProjectId::fresh();
        let organization = place.organization.get_untracked();
        mutate(EditProject { organization, id, edit: ProjectEdit::Create { name: text }, by: place.author() });
        name.set(String::new());
        close();
        // It has its address before the server has heard of it.
        go.with_value(|go| go(&place.path(&format!("projects/{id}"))));
    };
    view! {
        <dialog
            class="dialog"
            aria-labelledby="new-project-title"
            node_ref=dialog
            on:close=move |_| is_open.set(false)
        >
            <form class="form" on:submit=create>
                <h2 id="new-project-title">"New project"</h2>
                <div class="field">
                    <label for="new-project-name">"Name"</label>
                    <input
                        class="input"
                        id="new-project-name"
                        maxlength="200"
                        autocomplete="off"
                        required
                        autofocus
                        prop:value=move || name.get()
                        on:input:target=move |event| name.set(event.target().value())
                    />
                </div>
                <footer>
                    <button class="button" type="button" on:click=move |_| close()>
                        "Cancel"
                    </button>
                    <button class="button" data-kind="primary">
                        "Create project"
                    </button>
                </footer>
            </form>
        </dialog>
    }
}
