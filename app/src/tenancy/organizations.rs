//! Choosing an organization, and making one.

use super::api;
use crate::ui::feedback::alert;
use crate::ui::icon::{Icon, icon};
use crate::ui::person::initials;
use crate::ui::reports::reports;
use crate::ui::shell::{Session, go};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::components::Redirect;
use millstream::{ApiError, MutationId, OrganizationId};

#[component]
pub fn OrganizationsPage() -> impl IntoView {
    let session = expect_context::<Session>();
    let reports = reports();
    let name = RwSignal::new(String::new());
    let error = RwSignal::new(None::<ApiError>);
    let is_busy = RwSignal::new(false);
    // The same ids for every try: a repeat after a lost answer makes no second organization.
    let ids = StoredValue::new((MutationId::fresh(), OrganizationId::fresh()));
    let go = go();
    let create = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        is_busy.set(true);
        let go = go.clone();
        let (mutation, id) = ids.get_value();
        spawn_local(async move {
            match api::create_organization(mutation, id, name.get_untracked()).await {
                Ok(_) => {
                    ids.set_value((MutationId::fresh(), OrganizationId::fresh()));
                    session.refresh();
                    go(&format!("/o/{id}/orders"));
                }
                Err(refused) => {
                    ids.update_value(|ids| ids.0 = MutationId::fresh());
                    error.set(Some(refused));
                }
            }
            is_busy.set(false);
        });
    };
    let wrong = move || error.with(|error| error.as_ref().and_then(|error| error.fields.get("name").cloned()));
    view! {
        <Title text="Organizations" />
        {
                let create = create.clone();
                move || {
                    let create = create.clone();
                    let me = match session.me() {
                        Ok(me) => me,
                        Err(_) => return view! { <Redirect path="/sign-in?next=/organizations" /> }.into_any(),
                    };
                    // Whoever is signed in hears of an organization that they have just joined elsewhere.
                    millstream::hooks::start("/live", me.id, reports.clone(), crate::catalogue::catalogue);
                    let is_first = me.organizations.is_empty();
                    let choices = me
                        .organizations
                        .iter()
                        .map(|belonging| {
                            let letter: String = initials(&belonging.name).chars().take(1).collect();
                            let members = match belonging.members {
                                1 => "1 member".to_owned(),
                                many => format!("{many} members"),
                            };
                            view! {
                                <li>
                                    <a href=format!("/o/{}/orders", belonging.id)>
                                        <span
                                            class="avatar"
                                            data-kind="organization"
                                            data-size="large"
                                            aria-hidden="true"
                                        >
                                            {letter}
                                        </span>
                                        <span class="label">
                                            <strong>{belonging.name.clone()}</strong>
                                            <small>{belonging.role.label()} " · " {members}</small>
                                        </span>
                                        {icon(Icon::Next)}
                                    </a>
                                </li>
                            }
                        })
                        .collect_view();
                        view! {
                            <main class="entry" id="main">
                                <header>
                                    <img class="mark" src="/favicon.svg" alt="" width="40" height="40" />
                                    <h1>
                                        {if is_first { "Make your first organization" } else { "Choose an organization" }}
                                    </h1>
                                    <p>"Signed in as " {me.email.clone()}</p>
                                </header>
                                {(!is_first)
                                    .then(|| {
                                        view! {
                                            <section class="card" aria-label="Your organizations">
                                                <ul class="choices">{choices}</ul>
                                            </section>
                                        }
                                    })}
                                <form class="card" on:submit=create>
                                    <h2>{if is_first { "New organization" } else { "Create another" }}</h2>
                                    {alert(error.into())}
                                    <div class="field">
                                        <label for="organization-name">"Name"</label>
                                        <input
                                            class="input"
                                            id="organization-name"
                                            name="name"
                                            required
                                            autocomplete="organization"
                                            aria-invalid=move || wrong().map(|_| "true")
                                            prop:value=move || name.get()
                                            on:input:target=move |event| name.set(event.target().value())
                                        />
                                        <p class="help">"You will be its owner."</p>
                                    </div>
                                    <button class="button" data-wide="" disabled=move || is_busy.get()>
                                        "Create organization"
                                    </button>
                                </form>
                            </main>
                        }
                            .into_any()
                }
            }
    }
}
