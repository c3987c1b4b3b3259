//! The whole application: the document, the routes, and what every page shares.

use crate::offline;
use crate::orders::page::OrderPage;
use crate::orders::table::OrdersPage;
use crate::projects::list::ProjectsPage;
use crate::projects::page::ProjectPage;
use crate::tenancy::entry::{SignInPage, SignUpPage};
use crate::tenancy::invitation::InvitationPage;
use crate::tenancy::members::MembersPage;
use crate::tenancy::organizations::OrganizationsPage;
use crate::ui::feedback::{ToastRegion, Toasts, Tone, failure};
use crate::ui::shell::{Session, Workspace};
use crate::ui::sync;
use crate::ui::time::provide_clock;
use leptos::prelude::*;
use leptos_meta::{Meta, Title, provide_meta_context};
use leptos_router::components::{ParentRoute, Redirect, Route, Router, Routes};
use leptos_router::{ParamSegment, SsrMode, StaticSegment};
use millstream::ApiError;
use millstream::hooks::{Made, Refusal, Reports, undo};

/// The document around the application, as the server sends it.
#[cfg(feature = "ssr")]
pub fn shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en">
            {head(options)}
            <body>
                <App />
            </body>
        </html>
    }
}

/// The same without content: what the service worker keeps, for starting without the network. The program fills it.
#[cfg(feature = "ssr")]
pub fn offline_shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en">{head(options)} <body data-start="empty"></body></html>
    }
}

#[cfg(feature = "ssr")]
fn head(options: LeptosOptions) -> impl IntoView {
    use leptos_meta::{HashedStylesheet, MetaTags};
    view! {
        <head>
            <meta charset="utf-8" />
            <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
            <meta name="color-scheme" content="light dark" />
            <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
            <link rel="manifest" href="/manifest.webmanifest" />
            // Before anything is painted, so that a chosen theme does not flash.
            <script src="/theme.js"></script>
            <AutoReload options=options.clone() />
            <HydrationScripts options=options.clone() />
            <HashedStylesheet id="leptos" options />
            <MetaTags />
        </head>
    }
}

/// The application.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    provide_clock();
    let toasts = Toasts::provide();
    let session = Session::provide();
    tell_the_document();

    let reports = Reports {
        made: Callback::new(move |Made { label, can_undo, takes_away }: Made| {
            if can_undo && takes_away {
                toasts.offer(Tone::Info, format!("{label}."), "Undo", Callback::new(move |()| take_back(toasts)));
            }
        }),
        refused: Callback::new(move |Refusal { label, error, .. }: Refusal| {
            let message = format!("Not saved: {label}. {}", error.message);
            toasts.offer(Tone::Error, message, "Show", Callback::new(|()| sync::open()));
        }),
        rights_changed: Callback::new(move |_| session.refresh()),
        left: Callback::new(move |organization| {
            toasts.say(Tone::Info, "You are no longer a member of this organization.");
            session.left(organization);
        }),
        signed_out: Callback::new(move |()| session.ended()),
    };
    provide_context(reports);
    listen_for_undo(toasts);
    Effect::new(move |_| offline::register_worker(toasts));

    view! {
        <Title formatter=|title: String| {
            if title.is_empty() { "Millstream".to_owned() } else { format!("{title} · Millstream") }
        } />
        <Meta name="description" content="A live workspace for make-to-order manufacturing" />
        <Router>
            <Routes fallback=|| NotFound>
                <Route path=StaticSegment("") view=HomePage ssr=SsrMode::Async />
                <Route path=StaticSegment("sign-in") view=SignInPage ssr=SsrMode::Async />
                <Route path=StaticSegment("sign-up") view=SignUpPage ssr=SsrMode::Async />
                <Route path=StaticSegment("organizations") view=OrganizationsPage ssr=SsrMode::Async />
                <Route path=(StaticSegment("join"), ParamSegment("token")) view=InvitationPage ssr=SsrMode::Async />
                <ParentRoute path=(StaticSegment("o"), ParamSegment("organization")) view=Workspace ssr=SsrMode::Async>
                    <Route path=StaticSegment("") view=|| view! { <Redirect path="orders" /> } />
                    <Route path=StaticSegment("orders") view=OrdersPage />
                    <Route path=(StaticSegment("orders"), ParamSegment("order")) view=OrderPage />
                    <Route path=StaticSegment("projects") view=ProjectsPage />
                    <Route path=(StaticSegment("projects"), ParamSegment("project")) view=ProjectPage />
                    <Route path=StaticSegment("members") view=MembersPage />
                </ParentRoute>
            </Routes>
        </Router>
        <ToastRegion />
    }
}

fn take_back(toasts: Toasts) {
    if let Some(label) = undo() {
        toasts.say(Tone::Info, format!("Undone: {label}."));
    }
}

/// `z` and Ctrl+Z take the last step back; with Shift, and by Ctrl+Y, it is done again. Not while one types: then the
/// keys are the text's.
fn listen_for_undo(toasts: Toasts) {
    #[cfg(feature = "hydrate")]
    {
        use leptos::wasm_bindgen::JsCast;
        let listener = window_event_listener(leptos::ev::keydown, move |event| {
            let target = event.target().and_then(|target| target.dyn_into::<leptos::web_sys::Element>().ok());
            let is_typing = target.is_some_and(|target| {
                target.closest("input, textarea, select, [contenteditable], dialog[open]").ok().flatten().is_some()
            });
            if is_typing || event.alt_key() {
                return;
            }
            let is_command = event.ctrl_key() || event.meta_key();
            match (event.key().to_lowercase().as_str(), event.shift_key()) {
                ("z", false) => {
                    event.prevent_default();
                    take_back(toasts);
                }
                ("z", true) | ("y", false) if is_command || event.key() == "Z" => {
                    event.prevent_default();
                    if let Some(label) = millstream::hooks::redo() {
                        toasts.say(Tone::Info, format!("Done again: {label}."));
                    }
                }
                _ => {}
            }
        });
        on_cleanup(move || listener.remove());
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = toasts;
}

/// `data-hydrated` and `data-connection` on `<html>`.
fn tell_the_document() {
    #[cfg(feature = "hydrate")]
    {
        let connection = millstream::hooks::use_connection();
        let tell = |name: &str, value: &str| {
            if let Some(html) = document().document_element() {
                // Setting an attribute of the root fails only for names that are no names.
                drop(html.set_attribute(name, value));
            }
        };
        Effect::new(move |_| tell("data-connection", connection.state.get().name()));
        Effect::new(move |_| tell("data-hydrated", "true"));
    }
}

/// Where one lands: the first of one's organizations, or the page that makes one.
#[component]
fn HomePage() -> impl IntoView {
    let path = match expect_context::<Session>().me() {
        Ok(me) => match me.organizations.first() {
            Some(organization) => format!("/o/{}/orders", organization.id),
            None => "/organizations".to_owned(),
        },
        Err(_) => "/sign-in".to_owned(),
    };
    view! { <Redirect path /> }
}

#[component]
fn NotFound() -> impl IntoView {
    #[cfg(feature = "ssr")]
    if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
        response.set_status(axum::http::StatusCode::NOT_FOUND);
    }
    view! {
        <Title text="Not found" />
        <main class="entry" id="main">
            {failure(&ApiError::not_found("page"), || ())}
            <footer>
                <a href="/">"To the start"</a>
            </footer>
        </main>
    }
}
