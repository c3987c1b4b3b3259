//! The drawer: all keys, why the chosen one was read last, and the log.

use super::{Tools, words};
use crate::ui::icon::{Icon, icon};
use crate::ui::time::now;
use leptos::prelude::*;
use millstream::QueryKey;
use millstream::client::Reason;
#[cfg(feature = "hydrate")]
use millstream::devtools::report;
use millstream::devtools::{KeyReport, Report, why};
use millstream::trace::{Step, What};

/// How often is looked, in milliseconds.
#[cfg(feature = "hydrate")]
const LOOK_EVERY: u32 = 500;
/// So many keys are listed.
const MOST_KEYS: usize = 200;
/// So many steps are listed.
#[cfg(feature = "hydrate")]
const MOST_STEPS: usize = 300;

#[component]
pub fn Drawer(tools: Tools) -> impl IntoView {
    let seen = RwSignal::new(Report::default());
    let clock = RwSignal::new(now());
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        if !tools.is_open.get() {
            return;
        }
        let look = move || {
            let found = report(MOST_STEPS);
            if seen.with_untracked(|seen| *seen != found) {
                seen.set(found);
            }
            clock.set(now());
        };
        look();
        let looking = gloo_timers::callback::Interval::new(LOOK_EVERY, look);
        let looking = StoredValue::new_local(Some(looking));
        on_cleanup(move || drop(looking.try_update_value(Option::take)));
    });
    let chosen = RwSignal::new(None::<QueryKey>);
    let filter = RwSignal::new(String::new());
    view! {
        <section class="devtools" aria-label="Developer tools" hidden=move || !tools.is_open.get()>
            <header>
                <h2>"Developer tools"</h2>
                <p>{move || seen.with(summary)}</p>
                <button class="button" data-kind="quiet" type="button" on:click=move |_| tools.turn_off()>
                    "Turn off"
                </button>
                <button
                    class="button"
                    data-kind="icon"
                    type="button"
                    aria-label="Close"
                    on:click=move |_| tools.is_open.set(false)
                >
                    {icon(Icon::Close)}
                </button>
            </header>
            <div class="devtools-panes">
                <Keys seen clock chosen filter />
                <Chosen seen chosen />
                <Log seen chosen />
            </div>
        </section>
    }
}

fn summary(report: &Report) -> String {
    let bytes: usize = report.keys.iter().map(|key| key.bytes).sum();
    let cursor =
        report.cursor.as_ref().map_or_else(|| "no cursor".to_owned(), |cursor| format!("cursor {}", cursor.snapshot));
    format!("{} keys, {} watched, {}; {cursor}", report.keys.len(), report.watched, words::bytes(bytes))
}

#[component]
fn Keys(
    seen: RwSignal<Report>,
    clock: RwSignal<i64>,
    chosen: RwSignal<Option<QueryKey>>,
    filter: RwSignal<String>,
) -> impl IntoView {
    let matching = Memo::new(move |_| {
        let wanted = filter.get();
        seen.with(|seen| {
            let matches = |report: &&KeyReport| report.key.to_string().contains(wanted.trim());
            seen.keys.iter().filter(matches).cloned().collect::<Vec<_>>()
        })
    });
    let listed = move || matching.with(|all| all.iter().take(MOST_KEYS).cloned().collect::<Vec<_>>());
    let rest = move || matching.with(Vec::len).saturating_sub(MOST_KEYS);
    view! {
        <section class="devtools-keys" aria-label="Keys">
            <header>
                <h3>"Keys"</h3>
                <input
                    class="input"
                    type="search"
                    aria-label="Filter keys"
                    placeholder="Filter…"
                    on:input:target=move |event| filter.set(event.target().value())
                />
            </header>
            <table>
                <thead>
                    <tr>
                        <th scope="col">"Key"</th>
                        <th scope="col">"State"</th>
                        <th scope="col" data-align="end">"Observers"</th>
                        <th scope="col" data-align="end">"Size"</th>
                        <th scope="col" data-align="end">"Age"</th>
                        <th scope="col" data-align="end">"Fetches"</th>
                        <th scope="col">"Last fetch because"</th>
                    </tr>
                </thead>
                <tbody>
                    <For each=listed key=|report| report.key.clone() let:first>
                        <KeyRow first matching clock chosen />
                    </For>
                </tbody>
            </table>
            {move || (rest() > 0).then(|| view! { <p class="help">{format!("and {} more", rest())}</p> })}
        </section>
    }
}

#[component]
fn KeyRow(
    first: KeyReport,
    matching: Memo<Vec<KeyReport>>,
    clock: RwSignal<i64>,
    chosen: RwSignal<Option<QueryKey>>,
) -> impl IntoView {
    let key = StoredValue::new(first.key.clone());
    let row = Memo::new(move |before: Option<&KeyReport>| {
        let found = key.with_value(|key| matching.with(|all| all.iter().find(|report| report.key == *key).cloned()));
        found.or(before.cloned()).unwrap_or_else(|| first.clone())
    });
    let is_chosen = move || key.with_value(|key| chosen.with(|chosen| chosen.as_ref() == Some(key)));
    let choose = move |_| {
        let is_same = untrack(is_chosen);
        chosen.set(if is_same { None } else { Some(key.get_value()) });
    };
    let age = move || {
        let at = row.with(|row| row.taken_at)?;
        Some(words::age(u64::try_from(clock.get()).unwrap_or_default().saturating_sub(at)))
    };
    let unknown = || "–".to_owned();
    view! {
        <tr data-chosen=move || is_chosen().then_some("")>
            <td data-cell="key">
                <button type="button" aria-pressed=move || is_chosen().to_string() on:click=choose>
                    {key.with_value(words::key)}
                </button>
            </td>
            <td data-cell="state" data-state=move || words::standing(row.with(|row| row.standing))>
                {move || words::standing(row.with(|row| row.standing))}
                {move || row.with(|row| (row.needs > 0).then(|| format!(", lacks {}", row.needs)))}
                {move || row.with(|row| (row.pending > 0).then(|| format!(", {} pending", row.pending)))}
            </td>
            <td data-cell="observers" data-align="end">{move || row.with(|row| row.observers)}</td>
            <td data-cell="size" data-align="end">
                {move || words::bytes(row.with(|row| row.bytes))}
            </td>
            <td data-cell="age" data-align="end">{move || age().unwrap_or_else(unknown)}</td>
            <td data-cell="fetches" data-align="end">
                {move || row.with(|row| row.last_fetch.map_or(0, |last| last.count))}
            </td>
            <td data-cell="reason">
                {move || row.with(|row| row.last_fetch).map_or_else(unknown, |last| words::reason(last.reason))}
            </td>
        </tr>
    }
}

/// The chosen key: its stamps, and why it was read last.
#[component]
fn Chosen(seen: RwSignal<Report>, chosen: RwSignal<Option<QueryKey>>) -> impl IntoView {
    let of_chosen = move || {
        let key = chosen.get()?;
        seen.with(|seen| seen.keys.iter().find(|report| report.key == key).cloned())
    };
    let stamp =
        |stamp: Option<millstream::Stamp>| stamp.map_or_else(|| "–".to_owned(), |stamp| stamp.snapshot.to_string());
    view! {
        <section class="devtools-why" aria-label="Why did this refetch?">
            <h3>"Why did this refetch?"</h3>
            {move || match of_chosen() {
                None => view! { <p class="help">"Choose a key."</p> }.into_any(),
                Some(report) => {
                    let steps = why(&report.key);
                    view! {
                        <p class="devtools-name">{report.key.to_string()}</p>
                        <dl>
                            <dt>"Read at"</dt>
                            <dd>{stamp(report.own)}</dd>
                            <dt>"Right up to"</dt>
                            <dd>{stamp(report.effective)}</dd>
                            {report.error.map(|error| view! { <dt>"Error"</dt> <dd>{error}</dd> })}
                        </dl>
                        {chain(steps)}
                    }
                        .into_any()
                }
            }}
        </section>
    }
}

/// What led to the fetch and followed from it, each with the time since the first.
fn chain(steps: Vec<Step>) -> AnyView {
    let Some(first) = steps.first().map(|step| step.at) else {
        return view! { <p class="help">"It has not been read since the tools were turned on."</p> }.into_any();
    };
    // Of somebody else's transaction only the number is told; of one's own, when its answer came.
    let committed = steps.iter().find_map(|step| match step.what {
        What::Fetch(Reason::Change(xid)) => Some(xid),
        _ => None,
    });
    let is_own = steps.iter().any(|step| matches!(step.what, What::Answered(..)));
    let commit = committed.filter(|_| !is_own).map(|xid| {
        view! {
            <li data-kind="commit">
                <span>"before"</span>
                <strong>"commit"</strong>
                <span>{format!("transaction {}, by somebody else", xid.0)}</span>
            </li>
        }
    });
    view! {
        <ol class="devtools-chain">
            {commit}
            {steps
                .into_iter()
                .map(|step| {
                    let (kind, what) = words::what(&step.what);
                    view! {
                        <li data-kind=kind>
                            <time title=time_of(step.at)>{format!("+{} ms", step.at.saturating_sub(first))}</time>
                            <strong>{kind}</strong>
                            <span>{what}</span>
                        </li>
                    }
                })
                .collect_view()}
        </ol>
    }
    .into_any()
}

#[component]
fn Log(seen: RwSignal<Report>, chosen: RwSignal<Option<QueryKey>>) -> impl IntoView {
    let is_narrowed = RwSignal::new(false);
    let steps = move || {
        let chosen = chosen.get().filter(|_| is_narrowed.get());
        seen.with(|seen| {
            let matches = |step: &&Step| chosen.is_none() || step.key == chosen;
            seen.steps.iter().filter(matches).cloned().collect::<Vec<_>>()
        })
    };
    view! {
        <section class="devtools-log" aria-label="Log">
            <header>
                <h3>"Log"</h3>
                <label>
                    <input
                        type="checkbox"
                        prop:checked=move || is_narrowed.get()
                        on:change:target=move |event| is_narrowed.set(event.target().checked())
                    />
                    "Only the chosen key"
                </label>
            </header>
            <ol>
                <For each=steps key=|step| step.number let:step>
                    {
                        let (kind, what) = words::what(&step.what);
                        view! {
                            <li data-kind=kind>
                                <time>{time_of(step.at)}</time>
                                <strong>{kind}</strong>
                                <span>{what}</span>
                                <span class="devtools-name">{step.key.as_ref().map(words::key)}</span>
                            </li>
                        }
                    }
                </For>
            </ol>
        </section>
    }
}

/// "14:03:07.123", by this device's clock and zone.
fn time_of(at: u64) -> String {
    #[cfg(feature = "hydrate")]
    {
        let date = web_sys::js_sys::Date::new(&leptos::wasm_bindgen::JsValue::from_f64(at as f64));
        format!(
            "{:02}:{:02}:{:02}.{:03}",
            date.get_hours(),
            date.get_minutes(),
            date.get_seconds(),
            date.get_milliseconds()
        )
    }
    #[cfg(not(feature = "hydrate"))]
    at.to_string()
}
