//! The members of an organization: who they are, what they may do, and inviting more.

use super::api::{self, Invited};
use super::mutations::{RemoveMember, SetRole};
use super::{Action, Member, Members, Module, Role};
use crate::customers::{CustomerId, Customers};
use crate::ui::choice::{Choice, Entry};
use crate::ui::feedback::{alert, failure, loading};
use crate::ui::icon::{Icon, icon};
use crate::ui::person::person;
use crate::ui::shell::Place;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use millstream::hooks::{mutate, use_list, use_pending};
use millstream::live::NoParameters;
use millstream::{ApiError, MutationId};

fn role_entries(roles: impl Iterator<Item = Role>) -> Vec<Entry> {
    roles.map(|role| (role.name().to_owned(), role.label().to_owned())).collect()
}

#[component]
pub fn MembersPage() -> impl IntoView {
    let place = expect_context::<Place>();
    let members = use_list::<Members>(move || place.id(), NoParameters::default);
    let count = move || match members.get() {
        Some(Ok(members)) => members.len().to_string(),
        _ => String::new(),
    };
    let content = move || {
        // Rebuilt when there is something else to show, not when a row changes.
        let has_list = Memo::new(move |_| members.get().map(|members| members.map(|_| ())));
        move || {
            let view = match has_list.get()? {
                Ok(()) => view! { <Roster members=move || members.get().and_then(Result::ok).unwrap_or_default() /> }
                    .into_any(),
                Err(error) => failure(&error, move || members.retry()),
            };
            Some(view)
        }
    };
    view! {
        <Title text="Members" />
        <main class="page" id="main" tabindex="-1">
            <header class="page-header">
                <h1>"Members " <span class="count"><Suspense fallback=|| ()>{count}</Suspense></span></h1>
            </header>
            <div class="record-main">
                {move || place.may(Module::Members, Action::Create).then(|| view! { <Invite /> })}
                <section class="section" aria-labelledby="members-list">
                    <header>
                        <h2 id="members-list">"In this organization"</h2>
                    </header>
                    <Suspense fallback=|| loading("the members")>{content}</Suspense>
                </section>
            </div>
        </main>
    }
}

#[component]
fn Roster(members: impl Fn() -> Vec<Member> + Copy + Send + Sync + 'static) -> impl IntoView {
    view! {
        <div class="frame">
            <table class="table" data-kind="members">
                <caption class="visually-hidden">"Members"</caption>
                <colgroup>
                    <col />
                    <col data-col="email" />
                    <col data-col="role" />
                    <col data-col="action" />
                </colgroup>
                <thead>
                    <tr>
                        <th scope="col">"Name"</th>
                        <th scope="col">"Email"</th>
                        <th scope="col" data-cell="role">
                            "Role"
                        </th>
                        <th scope="col">
                            <span class="visually-hidden">"Remove"</span>
                        </th>
                    </tr>
                </thead>
                <tbody>
                    <For each=members key=|member| member.person_id let:member>
                        <Row first=member.clone() members />
                    </For>
                </tbody>
            </table>
        </div>
    }
}

#[component]
fn Row(first: Member, members: impl Fn() -> Vec<Member> + Copy + Send + Sync + 'static) -> impl IntoView {
    let place = expect_context::<Place>();
    let id = first.person_id;
    let member = Memo::new(move |before: Option<&Member>| {
        members().into_iter().find(|member| member.person_id == id).or(before.cloned()).unwrap_or_else(|| first.clone())
    });
    let is_pending = use_pending(move || id.0);
    let is_me = move || place.person() == id;
    let may_change =
        move || place.may(Module::Members, Action::Update) && member.with(|member| member.role) != Role::Buyer;
    let may_remove = move || is_me() || place.may(Module::Members, Action::Delete);
    let role = Signal::derive(move || member.with(|member| member.role.name().to_owned()));
    // A buyer belongs to a customer, which an invitation names.
    let entries = Signal::derive(|| role_entries(Role::ALL.iter().copied().filter(|role| *role != Role::Buyer)));
    let choose = move |name: String| {
        if let Ok(role) = name.parse()
            && role != member.with_untracked(|member| member.role)
        {
            let (name, before) = member.with_untracked(|member| (member.name.clone(), member.role));
            mutate(SetRole { organization: place.id(), person: id, name, before, role });
        }
    };
    let confirm = NodeRef::<leptos::html::Dialog>::new();
    let ask = move |_| {
        if let Some(dialog) = confirm.get() {
            drop(dialog.show_modal());
        }
    };
    let remove = move |_| {
        // Closed first: with the member goes the row that it stands in.
        if let Some(dialog) = confirm.get() {
            dialog.close();
        }
        let name = member.with_untracked(|member| member.name.clone());
        mutate(RemoveMember { organization: place.organization.get_untracked(), person: id, name });
    };
    let name = move || member.with(|member| member.name.clone());
    view! {
        <tr data-pending=move || is_pending.get().then_some("")>
            <td data-cell="name">{move || person(Some((id, name())))}</td>
            <td data-cell="email">{move || member.with(|member| member.email.clone())}</td>
            <td data-cell="role">
                {move || {
                    if may_change() {
                        view! {
                            <Choice
                                value=role
                                entries
                                choose=Callback::new(choose)
                                label=format!("Role of {}", name())
                                kind="quiet"
                            />
                        }
                            .into_any()
                    } else {
                        view! { <span class="fixed">{move || member.with(|member| member.role.label())}</span> }
                            .into_any()
                    }
                }}
            </td>
            <td data-cell="action">
                {move || {
                    may_remove()
                        .then(|| {
                            view! {
                                <button
                                    class="button"
                                    data-kind="icon"
                                    data-tone="danger"
                                    type="button"
                                    aria-label=format!("Remove {}", name())
                                    on:click=ask
                                >
                                    {icon(Icon::Trash)}
                                </button>
                            }
                        })
                }}
                <dialog class="dialog" node_ref=confirm>
                    <form class="form" method="dialog">
                        <h2>{move || if is_me() { "Leave the organization?".to_owned() } else { format!("Remove {}?", name()) }}</h2>
                        <p>
                            {move || {
                                if is_me() {
                                    "Your open screens of it close at once."
                                } else {
                                    "Their open screens of this organization close at once."
                                }
                            }}
                        </p>
                        <footer>
                            <button class="button" autofocus>
                                "Keep"
                            </button>
                            <button class="button" data-kind="danger" type="button" on:click=remove>
                                {move || if is_me() { "Leave" } else { "Remove" }}
                            </button>
                        </footer>
                    </form>
                </dialog>
            </td>
        </tr>
    }
}

#[component]
fn Invite() -> impl IntoView {
    let place = expect_context::<Place>();
    let role = RwSignal::new(Role::Planner);
    let customer = RwSignal::new(None::<CustomerId>);
    let customers = use_list::<Customers>(move || place.id(), NoParameters::default);
    let made = RwSignal::new(None::<Invited>);
    let error = RwSignal::new(None::<ApiError>);
    let copied = RwSignal::new(false);
    let invite = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        spawn_local(async move {
            let customer = customer.get_untracked().filter(|_| role.get_untracked() == Role::Buyer);
            let invited =
                api::invite(place.organization.get_untracked(), MutationId::fresh(), role.get_untracked(), customer)
                    .await;
            copied.set(false);
            match invited {
                Ok(written) => {
                    error.set(None);
                    made.set(Some(written.data));
                }
                Err(refused) => error.set(Some(refused)),
            }
        });
    };
    let link = move || {
        #[cfg(feature = "hydrate")]
        let origin = window().location().origin().unwrap_or_default();
        #[cfg(not(feature = "hydrate"))]
        let origin = String::new();
        made.get().map(|invited| format!("{origin}{}", invited.path)).unwrap_or_default()
    };
    let copy = move |_| {
        #[cfg(feature = "hydrate")]
        {
            let written = window().navigator().clipboard().write_text(&link());
            spawn_local(async move {
                copied.set(wasm_bindgen_futures::JsFuture::from(written).await.is_ok());
            });
        }
    };
    let customer_entries = Signal::derive(move || {
        let customers = customers.get().and_then(Result::ok).unwrap_or_default();
        let mut entries = vec![(String::new(), "Choose a customer…".to_owned())];
        entries.extend(customers.into_iter().map(|customer| (customer.id.to_string(), customer.name)));
        entries
    });
    view! {
        <section class="section" data-width="narrow" aria-labelledby="invite">
            <header>
                <h2 id="invite">"Invite somebody"</h2>
            </header>
            <p>"Make a link for one role. Whoever opens it joins the organization; it works once, for seven days."</p>
            {alert(error.into())}
            <form class="joined" on:submit=invite>
                <Choice
                    value=Signal::derive(move || role.get().name().to_owned())
                    entries=Signal::derive(|| role_entries(Role::ALL.iter().copied()))
                    choose=Callback::new(move |name: String| {
                        if let Ok(chosen) = name.parse() {
                            role.set(chosen);
                        }
                    })
                    label="Role".to_owned()
                />
                {move || {
                    (role.get() == Role::Buyer)
                        .then(|| {
                            view! {
                                <Choice
                                    value=Signal::derive(move || {
                                        customer.get().map(|id| id.to_string()).unwrap_or_default()
                                    })
                                    entries=customer_entries
                                    choose=Callback::new(move |id: String| customer.set(id.parse().ok()))
                                    label="Customer".to_owned()
                                />
                            }
                        })
                }} <button class="button">"Make a link"</button>
            </form>
            {move || {
                made.get()
                    .map(|invited| {
                        view! {
                            <div class="field">
                                <label for="invite-link">
                                    {format!("Link for the role {}", invited.role.label())}
                                </label>
                                <div class="joined">
                                    <input class="input" id="invite-link" readonly value=link />
                                    <button class="button" type="button" on:click=copy>
                                        {icon(Icon::Copy)}
                                        {move || if copied.get() { "Copied" } else { "Copy" }}
                                    </button>
                                </div>
                            </div>
                        }
                    })
            }}
        </section>
    }
}
