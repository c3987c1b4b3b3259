//! What stands around every page of an organization: the session, the sidebar, the connection's state.

use super::away::Away;
use super::feedback::{Toasts, Tone, failure};
use super::icon::{Icon, icon};
use super::person::{avatar, initials};
use super::presence::{HereNow, Others};
use super::reports::{listen_for_undo, reports};
use super::sync::SyncPanel;
use crate::devtools::Devtools;
use crate::offline;
use crate::tenancy::session;
use crate::tenancy::{Action, Belonging, Me, Module};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::components::{A, Outlet, Redirect};
use leptos_router::hooks::{use_location, use_navigate, use_params_map};
use millstream::connection::State;
use millstream::hooks::{belongs_to, forget_person, reconnect, use_connection, use_outbox};
use millstream::{ApiError, Kind, OrganizationId, PersonId};

/// Who is signed in: comes with the page, renewed when rights change. It is no resource, so that nothing of a page has
/// to wait for it, or be walked twice by a `Suspense`.
#[derive(Clone, Copy)]
pub struct Session(RwSignal<Result<Me, ApiError>>);

impl Session {
    pub fn provide() -> Self {
        let me = SharedValue::new(|| {
            #[cfg(feature = "ssr")]
            return crate::request::page_owner();
            // No server has rendered this page: it is of whoever used this device last.
            #[cfg(not(feature = "ssr"))]
            offline::last_person().ok_or_else(ApiError::unauthenticated)
        });
        let session = Self(RwSignal::new(me.into_inner()));
        provide_context(session);
        Effect::new(move |_| session.0.with(|me| offline::keep_person(me.as_ref().ok())));
        session
    }

    /// The person, or why there is none.
    pub fn me(self) -> Result<Me, ApiError> {
        self.0.get()
    }

    /// The same, for whoever does not follow it.
    pub fn me_untracked(self) -> Result<Me, ApiError> {
        self.0.get_untracked()
    }

    /// Asks again: something about the person's rights or organizations has changed.
    pub fn refresh(self) {
        spawn_local(async move {
            let me = session::me().await.map(|read| read.data);
            // A passing failure changes nobody's rights.
            if !matches!(&me, Err(error) if error.kind.is_passing()) {
                self.0.set(me);
            }
        });
    }

    /// The person is no longer a member there.
    pub fn left(self, organization: OrganizationId) {
        self.0.update(|me| {
            if let Ok(me) = me {
                me.organizations.retain(|belonging| belonging.id != organization);
            }
        });
        self.refresh();
    }

    /// Nobody is signed in any more.
    pub fn ended(self) {
        self.0.set(Err(ApiError::unauthenticated()));
    }
}

/// What a page of an organization knows: where it is, who looks, and what they may do.
#[derive(Clone, Copy)]
pub struct Place {
    pub organization: Memo<OrganizationId>,
    pub me: Memo<Option<Me>>,
}

impl Place {
    pub fn id(self) -> OrganizationId {
        self.organization.get()
    }

    /// Whether the person may do this here.
    pub fn may(self, module: Module, action: Action) -> bool {
        let organization = self.organization.get();
        self.me.with(|me| {
            me.as_ref().and_then(|me| me.belonging(organization)).is_some_and(|belonging| belonging.may(module, action))
        })
    }

    /// The person as the author of a change.
    pub fn author(self) -> (PersonId, String) {
        self.me.with_untracked(|me| match me {
            Some(me) => (me.id, me.name.clone()),
            None => (PersonId(uuid::Uuid::nil()), String::new()),
        })
    }

    /// The person's id.
    pub fn person(self) -> PersonId {
        self.author().0
    }

    /// An address within the organization that the page was opened in.
    pub fn path(self, rest: &str) -> String {
        format!("/o/{}/{rest}", self.organization.get_untracked())
    }
}

/// How the visitor stands to the organization in the address.
#[derive(Clone, PartialEq)]
enum Standing {
    SignedOut,
    Stranger,
    Member,
    Failed(ApiError),
}

/// The frame of an organization's pages.
#[component]
pub fn Workspace() -> impl IntoView {
    let session = expect_context::<Session>();
    let reports = reports();
    listen_for_undo(expect_context::<Toasts>());
    let parameters = use_params_map();
    let location = use_location();
    let organization = Memo::new(move |_| {
        parameters
            .with(|parameters| parameters.get("organization").and_then(|text| text.parse().ok()))
            .unwrap_or(OrganizationId(uuid::Uuid::nil()))
    });
    // Rebuilt only when the standing changes, not with every renewal of the rights.
    let standing = Memo::new(move |_| match session.me() {
        Err(error) if error.kind == Kind::Unauthenticated => Standing::SignedOut,
        Err(error) => Standing::Failed(error),
        Ok(me) if me.belonging(organization.get()).is_some() => Standing::Member,
        Ok(_) => Standing::Stranger,
    });
    let me = Memo::new(move |_| session.me().ok());
    Effect::new(move |_| {
        if let Some(me) = me.get() {
            belongs_to(me.organizations.iter().map(|belonging| belonging.id).collect());
        }
    });
    provide_context(Place { organization, me });
    move || match standing.get() {
        Standing::Member => {
            if let Some(me) = me.get_untracked() {
                millstream::hooks::start("/live", me.id, reports.clone(), crate::catalogue::catalogue);
            }
            view! { <Frame /> }.into_any()
        }
        Standing::SignedOut => {
            let next = location.pathname.get_untracked();
            view! { <Redirect path=format!("/sign-in?next={next}") /> }.into_any()
        }
        Standing::Stranger => {
            #[cfg(feature = "ssr")]
            if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
                response.set_status(axum::http::StatusCode::NOT_FOUND);
            }
            view! {
                <main class="entry" id="main">
                    {failure(&ApiError::not_found("organization"), || ())}
                    <footer>
                        <a href="/organizations">"Your organizations"</a>
                    </footer>
                </main>
            }
            .into_any()
        }
        Standing::Failed(error) => view! {
            <main class="entry" id="main">
                {failure(&error, move || session.refresh())}
            </main>
        }
        .into_any(),
    }
}

#[component]
fn Frame() -> impl IntoView {
    let place = expect_context::<Place>();
    Others::provide(place, crate::core_data::keep_core_data(place));
    #[cfg(feature = "hydrate")]
    super::scroll::follow_history();
    let pages = move || {
        place.organization.track();
        let all = [
            (Module::Sales, "orders", "Orders", Icon::Orders),
            (Module::Projects, "projects", "Projects", Icon::Projects),
            (Module::Members, "members", "Members", Icon::Members),
        ];
        all.into_iter()
            .filter(|(module, ..)| place.may(*module, Action::View))
            .map(|(_, path, name, shape)| {
                view! {
                    <li>
                        <A href=place.path(path)>{icon(shape)} <span>{name}</span></A>
                    </li>
                }
            })
            .collect_view()
    };
    view! {
        <a class="skip" href="#main" rel="external">"Skip to content"</a>
        <div class="shell">
            <header class="sidebar">
                <div class="sidebar-head">
                    <Organizations />
                    <HereNow />
                </div>
                <nav class="nav" aria-label="Main">
                    <ul>{pages}</ul>
                </nav>
                <div class="sidebar-foot">
                    <div class="status-row">
                        <ConnectionState />
                        <SyncPanel />
                    </div>
                    <Account />
                </div>
            </header>
            <Away />
            <Outlet />
            <Devtools />
        </div>
    }
}

fn organization_face(belonging: &Belonging) -> AnyView {
    let letter: String = initials(&belonging.name).chars().take(1).collect();
    view! { <span class="avatar" data-kind="organization" aria-hidden="true">{letter}</span> }.into_any()
}

/// Closes the menu that an element of it was chosen in.
fn close_menus() {
    #[cfg(feature = "hydrate")]
    if let Ok(open) = document().query_selector_all("details.menu[open]") {
        for place in 0..open.length() {
            if let Some(menu) = open.get(place) {
                use leptos::wasm_bindgen::JsCast;
                if let Some(menu) = menu.dyn_ref::<leptos::web_sys::Element>() {
                    drop(menu.remove_attribute("open"));
                }
            }
        }
    }
}

#[component]
fn Organizations() -> impl IntoView {
    let place = expect_context::<Place>();
    let location = use_location();
    // A menu closes with a click elsewhere, with Escape, and when one has arrived.
    Effect::new(move |_| {
        location.pathname.track();
        close_menus();
    });
    #[cfg(feature = "hydrate")]
    {
        let escape = window_event_listener(leptos::ev::keydown, |event| {
            if event.key() == "Escape" {
                close_menus();
            }
        });
        let elsewhere = window_event_listener(leptos::ev::pointerdown, |event| {
            use leptos::wasm_bindgen::JsCast;
            let target = event.target().and_then(|target| target.dyn_into::<leptos::web_sys::Element>().ok());
            let is_inside = target.and_then(|target| target.closest("details.menu").ok().flatten()).is_some();
            if !is_inside {
                close_menus();
            }
        });
        on_cleanup(move || {
            escape.remove();
            elsewhere.remove();
        });
    }
    let all = move || place.me.get().map(|me| me.organizations).unwrap_or_default();
    let here = move || all().into_iter().find(|belonging| belonging.id == place.id());
    view! {
        <details class="menu" name="shell-menu">
            <summary aria-label=move || {
                here().map(|belonging| format!("Organization: {}", belonging.name)).unwrap_or_default()
            }>
                {move || here().map(|belonging| organization_face(&belonging))}
                <span class="label">{move || here().map(|belonging| belonging.name)}</span> {icon(Icon::UpDown)}
            </summary>
            <div class="menu-list">
                {move || {
                    let current = place.id();
                    all()
                        .into_iter()
                        .map(|belonging| {
                            let is_here = belonging.id == current;
                            view! {
                                <a
                                    href=format!("/o/{}/orders", belonging.id)
                                    aria-current=is_here.then_some("true")
                                >
                                    {organization_face(&belonging)}
                                    {belonging.name.clone()}
                                    {is_here.then(|| icon(Icon::Check))}
                                </a>
                            }
                        })
                        .collect_view()
                }} <hr /> <a href="/organizations">{icon(Icon::Plus)} "New organization"</a>
            </div>
        </details>
    }
}

#[component]
fn ConnectionState() -> impl IntoView {
    let connection = use_connection();
    let word = move || match connection.state.get() {
        State::Live | State::Moving | State::Polling { .. } => "Live",
        State::Connecting => "Connecting",
        State::Reconnecting { .. } => "Reconnecting",
        State::Disconnected => "Disconnected",
        State::Offline => "Offline",
        State::Refused => "Signed out",
    };
    let latency = move || {
        let is_live = connection.state.get().way().is_some();
        connection.latency.get().filter(|_| is_live).map(|latency| format!("{latency} ms"))
    };
    view! {
        <p class="connection" data-state=move || connection.state.get().name()>
            <span role="status">{word}</span>
            <span class="latency">{latency}</span>
            {move || {
                (connection.state.get() == State::Disconnected)
                    .then(|| {
                        view! {
                            <button class="button" data-kind="quiet" type="button" on:click=move |_| reconnect()>
                                "Try again"
                            </button>
                        }
                    })
            }}
        </p>
    }
}

#[component]
fn Account() -> impl IntoView {
    let place = expect_context::<Place>();
    let me = move || place.me.get();
    let name = move || me().map(|me| me.name).unwrap_or_default();
    let chosen = RwSignal::new("system".to_owned());
    Effect::new(move |_| chosen.set(theme::chosen()));
    let choose = move |name: &'static str| {
        chosen.set(name.to_owned());
        theme::choose(name);
    };
    let toasts = expect_context::<Toasts>();
    let outbox = use_outbox();
    let is_sure = RwSignal::new(false);
    let sign_out = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let unsent = outbox.with_untracked(Vec::len);
        if unsent > 0 && !is_sure.get_untracked() {
            is_sure.set(true);
            let changes = if unsent == 1 { "One change is" } else { "Some changes are" };
            let warning =
                format!("{changes} not saved yet and would be lost. Sign out again to sign out all the same.");
            toasts.say(Tone::Error, warning);
            return;
        }
        spawn_local(async move {
            match session::sign_out().await {
                Ok(_) => {
                    offline::keep_person(None);
                    forget_person().await;
                    // Loaded anew: nothing of the person stays in the page's memory.
                    drop(window().location().assign("/sign-in"));
                }
                Err(error) => toasts.say(Tone::Error, error.message),
            }
        });
    };
    view! {
        <details class="menu" data-side="up" name="shell-menu">
            <summary aria-label=move || format!("{}: account", name())>
                {move || me().map(|me| avatar(me.id, &me.name))} <span class="label">{name}</span>
                {icon(Icon::UpDown)}
            </summary>
            <div class="menu-list">
                <p>
                    <strong>{name}</strong>
                    {move || me().map(|me| me.email)}
                </p>
                <hr />
                <fieldset class="segmented">
                    <legend>"Theme"</legend>
                    <div>
                        {[("system", "System"), ("light", "Light"), ("dark", "Dark")]
                            .map(|(value, label)| {
                                view! {
                                    <label>
                                        <input
                                            type="radio"
                                            name="theme"
                                            value=value
                                            prop:checked=move || chosen.get() == value
                                            on:change=move |_| choose(value)
                                        />
                                        {label}
                                    </label>
                                }
                            })
                            .collect_view()}
                    </div>
                </fieldset>
                <hr />
                <form method="post" action="/api/session/sign_out" on:submit=sign_out>
                    <button type="submit">{icon(Icon::SignOut)} "Sign out"</button>
                </form>
            </div>
        </details>
    }
}

mod theme {
    //! Light, dark, or what the system has; kept on this device.

    #[cfg(feature = "hydrate")]
    use leptos::prelude::{document, window};

    pub(super) fn chosen() -> String {
        #[cfg(feature = "hydrate")]
        if let Ok(Some(storage)) = window().local_storage()
            && let Ok(Some(theme)) = storage.get_item("theme")
        {
            return theme;
        }
        "system".to_owned()
    }

    /// Storage may be shut off: then the choice lasts as long as the page.
    pub(super) fn choose(name: &str) {
        #[cfg(feature = "hydrate")]
        {
            let storage = window().local_storage().ok().flatten();
            if let Some(html) = document().document_element() {
                if name == "system" {
                    drop(html.remove_attribute("data-theme"));
                    drop(storage.map(|storage| storage.remove_item("theme")));
                } else {
                    drop(html.set_attribute("data-theme", name));
                    drop(storage.map(|storage| storage.set_item("theme", name)));
                }
            }
        }
        #[cfg(not(feature = "hydrate"))]
        let _ = name;
    }
}

/// Goes to an address within the application.
pub fn go() -> impl Fn(&str) + Clone + Send + Sync {
    let navigate = use_navigate();
    move |path: &str| navigate(path, Default::default())
}
