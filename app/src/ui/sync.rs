//! The sync panel: how the page is connected, what has not reached the server yet, and what the server refused, with
//! what the person can do about it.

use super::conflict::{Matter, Settle, dispute, is_refused};
use super::icon::{Icon, icon};
use leptos::prelude::*;
use millstream::client::{Waiting, WaitingState};
use millstream::connection::State;
use millstream::hooks::{Decision, VitalSigns, decide, use_connection, use_outbox, vital_signs};

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
            <Line is_open />
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

/// The connection: its state, what this device keeps, and the latency of the last minutes.
#[component]
fn Line(is_open: RwSignal<bool>) -> impl IntoView {
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
        State::Live | State::Moving => "Live: what others change appears by itself.",
        State::Polling { .. } => {
            "Connected by asking every few seconds, for this network lets no WebSocket through: what others change appears with a delay."
        }
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
    let signs = use_vital_signs(is_open);
    let has_way = move || connection.state.get().way().is_some();
    view! {
        <p>{state}</p>
        <p class="help">{kept} " " {role}</p>
        <dl class="sync-signs">
            <dt>"Up to date"</dt>
            <dd>{move || heard(signs.get().cursor_age)}</dd>
            <dt>"Watched here"</dt>
            <dd>
                {move || match signs.get().watched {
                    1 => "1 query".to_owned(),
                    many => format!("{many} queries"),
                }}
            </dd>
        </dl>
        {move || {
            let measured = measured.get();
            (measured.len() > 1 && has_way()).then(|| chart(&measured))
        }}
    }
}

/// The engine's vital signs, looked at once a second while the panel is open.
fn use_vital_signs(is_open: RwSignal<bool>) -> RwSignal<VitalSigns> {
    let signs = RwSignal::new(VitalSigns::default());
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        if is_open.get() {
            signs.set(vital_signs());
            let looking = gloo_timers::callback::Interval::new(1_000, move || {
                signs.try_set(vital_signs());
            });
            let looking = StoredValue::new_local(Some(looking));
            on_cleanup(move || drop(looking.try_update_value(Option::take)));
        }
    });
    #[cfg(not(feature = "hydrate"))]
    let _ = (is_open, vital_signs);
    signs
}

/// How long ago the live connection said up to where all is known.
fn heard(age: Option<u64>) -> String {
    match age.map(|age| age / 1_000) {
        None => "not told yet".to_owned(),
        Some(0) => "as of now".to_owned(),
        Some(seconds @ 1..60) => format!("as of {seconds} s ago"),
        Some(seconds) => format!("as of {} min ago", seconds / 60),
    }
}

/// The latency of the last minutes: a line, its bounds, and the same in words.
fn chart(measured: &[u32]) -> AnyView {
    let last = measured.last().copied().unwrap_or_default();
    let (lowest, highest) =
        (measured.iter().min().copied().unwrap_or_default(), measured.iter().max().copied().unwrap_or_default());
    let words = in_words(measured);
    view! {
        <figure class="sync-latency">
            <figcaption>
                <span>"There and back"</span>
                <strong>{format!("{last} ms")}</strong>
            </figcaption>
            <div>
                <svg viewBox="0 0 120 24" preserveAspectRatio="none" role="img" aria-label=words>
                    <line x1="0" y1="1" x2="120" y2="1"></line>
                    <line x1="0" y1="23" x2="120" y2="23"></line>
                    <polyline points=points(measured)></polyline>
                </svg>
                <p aria-hidden="true">
                    <span>{format!("{highest} ms")}</span>
                    <span>"0"</span>
                </p>
            </div>
            <p aria-hidden="true">
                <span>"5 min ago"</span>
                <span>{format!("{lowest} to {highest} ms")}</span>
                <span>"now"</span>
            </p>
        </figure>
    }
    .into_any()
}

/// What the chart shows, for whoever does not see it.
fn in_words(measured: &[u32]) -> String {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    let (Some(last), Some(lowest), Some(highest)) = (measured.last(), sorted.first(), sorted.last()) else {
        return "The way there and back has not been measured yet.".to_owned();
    };
    let middle = sorted[sorted.len() / 2];
    let seconds = measured.len() * 5;
    let time = if seconds < 120 { format!("{seconds} seconds") } else { format!("{} minutes", seconds / 60) };
    format!("Latency over the last {time}: now {last} ms; mostly about {middle} ms, between {lowest} and {highest} ms.")
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
    let what = match &waiting.state {
        WaitingState::Queued => "waits to be sent".to_owned(),
        WaitingState::Sending => "is being sent".to_owned(),
        WaitingState::Retrying { failed } => format!("could not be sent {failed} times; trying again"),
        WaitingState::Refused(error) => error.message.clone(),
    };
    let is_refused = is_refused(&waiting);
    let matter = if waiting.disputes.is_empty() { Matter::Refusal } else { Matter::Dispute };
    let actions = match &waiting.state {
        WaitingState::Refused(_) => view! { <Settle id typed=waiting.typed matter /> }.into_any(),
        WaitingState::Queued | WaitingState::Retrying { .. } => view! {
            <div class="sync-actions">
                <button class="button" type="button" on:click=move |_| decide(id, Decision::Drop)>
                    "Drop"
                </button>
            </div>
        }
        .into_any(),
        WaitingState::Sending => ().into_any(),
    };
    view! {
        <li data-refused=is_refused.then_some("")>
            <strong>{waiting.label}</strong>
            <p>{what}</p>
            {waiting.disputes.into_iter().map(dispute).collect_view()}
            {actions}
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::{in_words, points};

    #[test]
    fn the_chart_begins_at_the_right_and_its_slowest_is_at_the_top() {
        assert_eq!(points(&[10, 20]), "118.0,12.0 120.0,1.0");
        assert_eq!(points(&[]), "");
    }

    #[test]
    fn the_chart_is_told_in_words_too() {
        assert_eq!(
            in_words(&[10, 4, 90, 6]),
            "Latency over the last 20 seconds: now 6 ms; mostly about 10 ms, between 4 and 90 ms."
        );
    }
}
