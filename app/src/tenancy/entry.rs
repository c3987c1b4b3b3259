//! Signing in and up. Both are forms that work without JavaScript; with it, errors come back in place.

use super::session;
use crate::ui::feedback::alert;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use millstream::ApiError;

/// Where to go after signing in: only within this site.
fn next_path() -> Memo<String> {
    let query = use_query_map();
    Memo::new(move |_| {
        let next = query.with(|query| query.get("next")).unwrap_or_default();
        let is_ours = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
        if is_ours { next } else { "/".to_owned() }
    })
}

/// Leaves for the address with a fresh page: nothing of before stays in memory.
fn leave_for(path: &str) {
    #[cfg(feature = "hydrate")]
    drop(window().location().assign(path));
    #[cfg(not(feature = "hydrate"))]
    let _ = path;
}

/// A labelled input with what is wrong with it.
#[component]
fn Field(
    name: &'static str,
    label: &'static str,
    #[prop(default = "text")] kind: &'static str,
    autocomplete: &'static str,
    #[prop(optional)] help: Option<&'static str>,
    value: RwSignal<String>,
    #[prop(into)] error: Signal<Option<ApiError>>,
) -> impl IntoView {
    let wrong = move || error.with(|error| error.as_ref().and_then(|error| error.fields.get(name).cloned()));
    view! {
        <div class="field">
            <label for=name>{label}</label>
            <input
                class="input"
                id=name
                name=name
                type=kind
                autocomplete=autocomplete
                required=true
                aria-invalid=move || wrong().map(|_| "true")
                aria-describedby=format!("{name}-note")
                prop:value=move || value.get()
                on:input:target=move |event| value.set(event.target().value())
            />
            <p class=move || if wrong().is_some() { "error" } else { "help" } id=format!("{name}-note")>
                {move || wrong().or(help.map(str::to_owned))}
            </p>
        </div>
    }
}

#[component]
pub fn SignInPage() -> impl IntoView {
    let query = use_query_map();
    let next = next_path();
    let (email, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let is_busy = RwSignal::new(false);
    let failed = query.with_untracked(|query| query.get("failed").is_some());
    let refusal =
        || ApiError::new(millstream::Kind::Unauthenticated, "This email and password do not belong together.");
    let error = RwSignal::new(failed.then(refusal));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        is_busy.set(true);
        spawn_local(async move {
            match session::sign_in(email.get_untracked(), password.get_untracked()).await {
                Ok(_) => leave_for(&next.get_untracked()),
                Err(refused) => {
                    error.set(Some(refused));
                    is_busy.set(false);
                }
            }
        });
    };
    view! {
        <Title text="Sign in" />
        <main class="entry" id="main">
            <header>
                <img class="mark" src="/favicon.svg" alt="" width="40" height="40" />
                <h1>"Sign in to Millstream"</h1>
            </header>
            <form class="card" method="post" action="/api/session/sign_in" on:submit=submit>
                {alert(error.into())} <input type="hidden" name="next" value=move || next.get() />
                <Field name="email" label="Email" kind="email" autocomplete="username" value=email error />
                <Field
                    name="password"
                    label="Password"
                    kind="password"
                    autocomplete="current-password"
                    value=password
                    error
                />
                <button
                    class="button"
                    data-kind="primary"
                    data-wide=""
                    aria-busy=move || is_busy.get().then_some("true")
                    disabled=move || is_busy.get()
                >
                    "Sign in"
                </button>
            </form>
            <footer>
                "New here? " <a href=move || format!("/sign-up?next={}", next.get())>"Create an account"</a>
            </footer>
        </main>
    }
}

#[component]
pub fn SignUpPage() -> impl IntoView {
    let next = next_path();
    let (name, email, password) =
        (RwSignal::new(String::new()), RwSignal::new(String::new()), RwSignal::new(String::new()));
    let is_busy = RwSignal::new(false);
    let error = RwSignal::new(None::<ApiError>);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        is_busy.set(true);
        spawn_local(async move {
            let made = session::sign_up(name.get_untracked(), email.get_untracked(), password.get_untracked());
            match made.await {
                Ok(_) => leave_for(&next.get_untracked()),
                Err(refused) => {
                    error.set(Some(refused));
                    is_busy.set(false);
                }
            }
        });
    };
    view! {
        <Title text="Create an account" />
        <main class="entry" id="main">
            <header>
                <img class="mark" src="/favicon.svg" alt="" width="40" height="40" />
                <h1>"Create an account"</h1>
            </header>
            <form class="card" method="post" on:submit=submit>
                {alert(error.into())} <Field name="name" label="Name" autocomplete="name" value=name error />
                <Field name="email" label="Email" kind="email" autocomplete="username" value=email error />
                <Field
                    name="password"
                    label="Password"
                    kind="password"
                    autocomplete="new-password"
                    help="10 characters at least"
                    value=password
                    error
                />
                <noscript>
                    <p class="alert">"Creating an account needs JavaScript. Signing in does not."</p>
                </noscript>
                <button
                    class="button"
                    data-kind="primary"
                    data-wide=""
                    aria-busy=move || is_busy.get().then_some("true")
                    disabled=move || is_busy.get()
                >
                    "Create account"
                </button>
            </form>
            <footer>
                "Already have an account? " <a href=move || format!("/sign-in?next={}", next.get())>"Sign in"</a>
            </footer>
        </main>
    }
}
