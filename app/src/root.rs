//! The whole application: the document, the routes, and what every page shares.

use crate::lazy::{
    InvitationRoute, MembersRoute, OrderRoute, OrdersRoute, OrganizationsRoute, ProjectRoute, ProjectsRoute,
    WorkspaceRoute,
};
use crate::offline;
use crate::tenancy::entry::{SignInPage, SignUpPage};
use crate::ui::feedback::{ToastRegion, Toasts, failure};
use crate::ui::shell::Session;
use crate::ui::time::provide_clock;
use leptos::prelude::*;
use leptos_meta::{Meta, Title, provide_meta_context};
use leptos_router::components::{ParentRoute, Redirect, Route, Router, Routes};
use leptos_router::{Lazy, ParamSegment, SsrMode, StaticSegment};
use millstream::ApiError;

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
    Session::provide();
    tell_the_document();

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
                <Route path=StaticSegment("organizations") view={Lazy::<OrganizationsRoute>::new()} ssr=SsrMode::Async />
                <Route path=(StaticSegment("join"), ParamSegment("token")) view={Lazy::<InvitationRoute>::new()} ssr=SsrMode::Async />
                <ParentRoute path=(StaticSegment("o"), ParamSegment("organization")) view={Lazy::<WorkspaceRoute>::new()} ssr=SsrMode::Async>
                    <Route path=StaticSegment("") view=|| view! { <Redirect path="orders" /> } />
                    <Route path=StaticSegment("orders") view={Lazy::<OrdersRoute>::new()} />
                    <Route path=(StaticSegment("orders"), ParamSegment("order")) view={Lazy::<OrderRoute>::new()} />
                    <Route path=StaticSegment("projects") view={Lazy::<ProjectsRoute>::new()} />
                    <Route path=(StaticSegment("projects"), ParamSegment("project")) view={Lazy::<ProjectRoute>::new()} />
                    <Route path=StaticSegment("members") view={Lazy::<MembersRoute>::new()} />
                </ParentRoute>
            </Routes>
        </Router>
        <ToastRegion />
    }
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
