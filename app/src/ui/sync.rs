//! The sync panel: how the page is connected, what has not reached the server yet, and what the server refused, with
//! what the person can do about it.

use super::icon::{Icon, icon};
use super::time::When;
use leptos::prelude::*;
use millstream::Dispute;
use millstream::client::{Waiting, WaitingState};
use millstream::connection::State;
use millstream::hooks::{Decision, decide, use_connection, use_outbox};

const PANEL: &str = "sync-panel";
/// Measurements that the chart shows: one each five seconds, for five minutes.
const MEASUREMENTS: usize = 60;

/// Opens the panel.
pub fn open() {
    #[cfg(feature = "hydrate")]
    {
        use leptos::wasm_bindgen::JsCast;
        let panel = document().get_element_by_id(PANEL);
        if let Some(panel) = panel.and_then(|panel| panel.dyn_into::<leptos::web_sys::HtmlElement>().ok()) {
            // Fails only for a panel that is open.
            drop(panel.show_popover());
        }
    }
}

/// The button of the panel, and the panel.
#[component]
pub fn SyncPanel() -> impl IntoView {
    let outbox = use_outbox();
    // Nobody sees it while it is closed, and there may be much to keep up to date.
    let is_open = RwSignal::new(false);
    let opened = move |_| {
        #[cfg(feature = "hydrate")]
        is_open.set(document().query_selector(&format!("#{PANEL}:popover-open")).ok().flatten().is_some());
    };
    let count = move || outbox.with(Vec::len);
    let refused = move || outbox.with(|all| all.iter().filter(|waiting| is_refused(waiting)).count());
    let label = move || match (count(), refused()) {
        (0, _) => "Sync: everything is saved".to_owned(),
        (count, 0) => format!("Sync: {count} not saved yet"),
        (_, refused) => format!("Sync: {refused} need you"),
    };
    view! {
        <button
            class="button sync-button"
            data-kind="icon"
            data-tone=move || (refused() > 0).then_some("danger")
            type="button"
            popovertarget=PANEL
            aria-label=label
        >
            {icon(Icon::Sync)}
            {move || (count() > 0).then(|| view! { <span class="badge-count">{if count() > 99 { "99+".to_owned() } else { count().to_string() }}</span> })}
        </button>
        <section class="sync" id=PANEL popover="auto" aria-label="Sync" on:toggle=opened>
            <h2>"Sync"</h2>
            <Line />
            <h3>"Waiting"</h3>
            {move || {
                if !is_open.get() {
                    ().into_any()
                } else if count() == 0 {
                    view! { <p class="help">"Everything that you did is saved."</p> }.into_any()
                } else {
                    view! {
                        <ul class="sync-list">
                            <For each=move || outbox.get() key=|waiting| (waiting.id, is_refused(waiting)) let:waiting>
                                <Item waiting />
                            </For>
                        </ul>
                    }
                        .into_any()
                }
            }}
        </section>
    }
}

fn is_refused(waiting: &Waiting) -> bool {
    matches!(waiting.state, WaitingState::Refused(_))
}

/// The connection: its state, what this device keeps, and the latency of the last minutes.
#[component]
fn Line() -> impl IntoView {
    let connection = use_connection();
    let measured = RwSignal::new(Vec::<u32>::new());
    Effect::new(move |_| {
        if let Some(latency) = connection.latency.get() {
            measured.update(|measured| {
                measured.push(latency);
                if measured.len() > MEASUREMENTS {
                    measured.remove(0);
                }
            });
        }
    });
    let state = move || match connection.state.get() {
        State::Live => "Live: what others change appears by itself.",
        State::Connecting => "Connecting…",
        State::Reconnecting { .. } => "The connection was lost. Trying again…",
        State::Disconnected => "There is no connection.",
        State::Offline => "There is no network.",
        State::Refused => "You are signed out.",
    };
    let kept = move || match connection.is_kept.get() {
        Some(true) => "What you see and do is kept on this device until it is saved.",
        Some(false) => {
            "Nothing is kept on this device (that takes https, and a browser that allows it): leave the page open until all is saved."
        }
        None => "",
    };
    let role = move || {
        if connection.is_leading.get() { "This tab holds the connection." } else { "Another tab holds the connection." }
    };
    view! {
        <p>{state}</p>
        <p class="help">{kept} " " {role}</p>
        {move || {
            let measured = measured.get();
            let last = measured.last().copied().filter(|_| measured.len() > 1 && connection.state.get() == State::Live)?;
            Some(
                view! {
                    <figure class="sync-latency">
                        <svg viewBox="0 0 120 24" preserveAspectRatio="none" aria-hidden="true">
                            <polyline points=points(&measured)></polyline>
                        </svg>
                        <figcaption>
                            {format!("{last} ms there and back; at most {} ms lately", measured.iter().max().unwrap_or(&0))}
                        </figcaption>
                    </figure>
                },
            )
        }}
    }
}

/// The chart's line in a box of 120 by 24: the latest at the right, the slowest at the top.
fn points(measured: &[u32]) -> String {
    let highest = measured.iter().max().copied().unwrap_or(1).max(1);
    let first = MEASUREMENTS - measured.len().min(MEASUREMENTS);
    let point = |(place, latency): (usize, &u32)| {
        let x = (first + place) as f64 * 120.0 / (MEASUREMENTS - 1) as f64;
        let y = 23.0 - 22.0 * f64::from(*latency) / f64::from(highest);
        format!("{x:.1},{y:.1}")
    };
    measured.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[component]
fn Item(waiting: Waiting) -> impl IntoView {
    let id = waiting.id;
    let act = move |decision| move |_| decide(id, decision);
    let what = match &waiting.state {
        WaitingState::Queued => "waits to be sent".to_owned(),
        WaitingState::Sending => "is being sent".to_owned(),
        WaitingState::Retrying { failed } => format!("could not be sent {failed} times; trying again"),
        WaitingState::Refused(error) => error.message.clone(),
    };
    let is_refused = is_refused(&waiting);
    let actions = match (&waiting.state, waiting.disputes.is_empty()) {
        (WaitingState::Refused(_), true) => view! {
            <button class="button" type="button" on:click=act(Decision::Retry)>
                "Try again"
            </button>
            <button class="button" data-tone="danger" type="button" on:click=act(Decision::Drop)>
                "Drop"
            </button>
        }
        .into_any(),
        (WaitingState::Refused(_), false) => view! {
            <button class="button" data-kind="primary" type="button" on:click=act(Decision::KeepMine)>
                "Keep mine"
            </button>
            <button class="button" type="button" on:click=act(Decision::Drop)>
                "Take theirs"
            </button>
        }
        .into_any(),
        (WaitingState::Queued | WaitingState::Retrying { .. }, _) => view! {
            <button class="button" type="button" on:click=act(Decision::Drop)>
                "Drop"
            </button>
        }
        .into_any(),
        (WaitingState::Sending, _) => ().into_any(),
    };
    view! {
        <li data-refused=is_refused.then_some("")>
            <strong>{waiting.label}</strong>
            <p>{what}</p>
            {waiting.disputes.into_iter().map(dispute).collect_view()}
            <div class="sync-actions">{actions}</div>
        </li>
    }
}

/// Both values of a field, and whose the other one is.
fn dispute(dispute: Dispute) -> impl IntoView {
    let Dispute { field, mine, theirs, by, at } = dispute;
    view! {
        <dl class="dispute">
            <dt>{format!("Your {field}")}</dt>
            <dd>{mine}</dd>
            <dt>{by.map_or_else(|| format!("The {field} now"), |by| format!("{by}’s {field}"))}</dt>
            <dd>
                {theirs}
                {at
                    .map(|at| {
                        view! {
                            <small>
                                <When at=Signal::derive(move || at) />
                            </small>
                        }
                    })}
            </dd>
        </dl>
    }
}

#[cfg(test)]
mod tests {
    use super::points;

    #[test]
    fn the_chart_begins_at_the_right_and_its_slowest_is_at_the_top() {
        assert_eq!(points(&[10, 20]), "118.0,12.0 120.0,1.0");
        assert_eq!(points(&[]), "");
    }
}
