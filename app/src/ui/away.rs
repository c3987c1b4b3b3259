//! One quiet line about what others changed while the person was away, with the list of it. It takes no focus and goes
//! when it is dismissed.

use super::icon::{Icon, icon};
use super::time::When;
use leptos::prelude::*;
use leptos_router::components::A;
use millstream::hooks::{dismiss_notices, use_notices};
use millstream::notices::{How, Notice};

/// So many are listed; of the rest it is said how many they are.
const MOST_LISTED: usize = 50;

#[component]
pub fn Away() -> impl IntoView {
    let notices = use_notices();
    let count = Memo::new(move |_| notices.with(Vec::len));
    let is_open = RwSignal::new(false);
    let listed = move || notices.with(|notices| notices.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>());
    let dismiss = move |_| {
        is_open.set(false);
        dismiss_notices();
    };
    move || {
        (count.get() > 0).then(|| {
            view! {
                <section class="away" aria-label="While you were away">
                    <p role="status">
                        <strong>{move || counted(count.get(), "change")}</strong>
                        " while you were away"
                    </p>
                    <button
                        class="button"
                        data-kind="quiet"
                        type="button"
                        aria-expanded=move || is_open.get().to_string()
                        aria-controls="away-list"
                        on:click=move |_| is_open.update(|is_open| *is_open = !*is_open)
                    >
                        {move || if is_open.get() { "Hide" } else { "Show" }}
                    </button>
                    <button class="button" data-kind="icon" type="button" aria-label="Dismiss" on:click=dismiss>
                        {icon(Icon::Close)}
                    </button>
                    <ul id="away-list" hidden=move || !is_open.get()>
                        {move || listed().into_iter().map(item).collect_view()}
                        {move || {
                            let rest = count.get().saturating_sub(MOST_LISTED);
                            (rest > 0).then(|| view! { <li>{format!("and {rest} more")}</li> })
                        }}
                    </ul>
                </section>
            }
        })
    }
}

fn item(notice: Notice) -> AnyView {
    let Notice { how, what, who, at, path, .. } = notice;
    let verb = match how {
        How::Made => "made",
        How::Changed => "changed",
        How::Deleted => "deleted",
    };
    let by = who.map_or_else(|| format!("{verb} by somebody else"), |who| format!("{verb} by {who}"));
    let name = match how {
        How::Deleted => view! { <span>{what}</span> }.into_any(),
        How::Made | How::Changed => view! { <A href=path>{what}</A> }.into_any(),
    };
    view! {
        <li>
            {name} <span class="detail">{by}</span>
            {at.map(|at| view! { <When at=Signal::derive(move || at) /> })}
        </li>
    }
    .into_any()
}

/// "1 change", "2 changes".
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
