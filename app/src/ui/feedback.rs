//! What the page says beside its content: toasts, panels for nothing and for errors, the sign of loading.

use super::icon::{Icon, icon};
use leptos::prelude::*;
use millstream::ApiError;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Info,
    Error,
}

#[derive(Clone)]
struct Toast {
    number: u32,
    tone: Tone,
    message: String,
    /// What can be done about it, by the name of its button.
    action: Option<(&'static str, Action)>,
}

/// It may outlive the page that offered it, and so is no `Callback`, which ends with its component.
type Action = Arc<dyn Fn() + Send + Sync>;

/// The toasts of the page; provided once, at the root.
#[derive(Clone, Copy)]
pub struct Toasts {
    shown: RwSignal<Vec<Toast>>,
    last: StoredValue<u32>,
}

impl Toasts {
    pub fn provide() -> Self {
        let toasts = Self { shown: RwSignal::new(Vec::new()), last: StoredValue::new(0) };
        provide_context(toasts);
        toasts
    }

    /// Shows a message. What informs goes by itself after six seconds; an error stays until it is dismissed.
    pub fn say(self, tone: Tone, message: impl Into<String>) {
        self.show(tone, message.into(), None);
    }

    /// Shows a message with something that can be done about it.
    pub fn offer(
        self,
        tone: Tone,
        message: impl Into<String>,
        name: &'static str,
        action: impl Fn() + Send + Sync + 'static,
    ) {
        self.show(tone, message.into(), Some((name, Arc::new(action))));
    }

    fn show(self, tone: Tone, message: String, action: Option<(&'static str, Action)>) {
        let number = self.last.get_value() + 1;
        self.last.set_value(number);
        let toast = Toast { number, tone, message, action };
        self.shown.update(|shown| {
            // The same said again is said once.
            shown.retain(|other| other.message != toast.message);
            shown.push(toast);
            if shown.len() > 4 {
                shown.remove(0);
            }
        });
        #[cfg(feature = "hydrate")]
        if tone == Tone::Info {
            gloo_timers::callback::Timeout::new(6_000, move || self.dismiss(number)).forget();
        }
    }

    fn dismiss(self, number: u32) {
        self.shown.update(|shown| shown.retain(|toast| toast.number != number));
    }
}

#[component]
pub fn ToastRegion() -> impl IntoView {
    let toasts = expect_context::<Toasts>();
    view! {
        <section class="toasts" aria-label="Notifications" aria-live="polite">
            <For each=move || toasts.shown.get() key=|toast| toast.number let:toast>
                <div class="toast" data-kind=if toast.tone == Tone::Error { "error" } else { "info" }>
                    {icon(if toast.tone == Tone::Error { Icon::Alert } else { Icon::Info })}
                    <p>{toast.message}</p>
                    {toast
                        .action
                        .map(|(name, action)| {
                            view! {
                                <button
                                    class="button"
                                    data-kind="quiet"
                                    type="button"
                                    on:click=move |_| {
                                        toasts.dismiss(toast.number);
                                        action();
                                    }
                                >
                                    {name}
                                </button>
                            }
                        })}
                    <button
                        class="button"
                        data-kind="icon"
                        type="button"
                        aria-label="Dismiss"
                        on:click=move |_| toasts.dismiss(toast.number)
                    >
                        {icon(Icon::Close)}
                    </button>
                </div>
            </For>
        </section>
    }
}

/// Why there is nothing to see, with a way to try again.
pub fn failure(error: &ApiError, retry: impl Fn() + 'static) -> AnyView {
    let can_retry = error.kind.is_passing();
    view! {
        <section class="panel" data-kind="error" role="alert">
            {icon(Icon::Alert)}
            <h2>{if can_retry { "This could not be loaded" } else { "There is nothing to see here" }}</h2>
            <p>{error.message.clone()}</p>
            {can_retry
                .then(|| view! { <button class="button" type="button" on:click=move |_| retry()>"Try again"</button> })}
        </section>
    }
    .into_any()
}

/// A place without content yet, and what to do about it.
pub fn nothing(title: &'static str, advice: &'static str) -> AnyView {
    view! {
        <section class="panel" data-kind="empty">
            {icon(Icon::Orders)}
            <h2>{title}</h2>
            <p>{advice}</p>
        </section>
    }
    .into_any()
}

/// That something is on its way.
pub fn loading(what: &'static str) -> AnyView {
    view! {
        <div class="frame" aria-busy="true">
            <p class="visually-hidden" role="status">"Loading " {what}</p>
            <table class="table">
                <tbody>
                    {(0..6)
                        .map(|row| {
                            let width = if row % 2 == 0 { "long" } else { "short" };
                            view! {
                                <tr>
                                    <td data-cell="title">
                                        <span class="skeleton" data-width=width></span>
                                    </td>
                                </tr>
                            }
                        })
                        .collect_view()}
                </tbody>
            </table>
        </div>
    }
    .into_any()
}

/// What a failed request says, below the head of a form.
pub fn alert(error: Signal<Option<ApiError>>) -> AnyView {
    view! { {move || error.get().map(|error| view! { <p class="alert" role="alert">{error.message}</p> })} }.into_any()
}
