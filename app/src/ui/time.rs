//! Times as people read them. What depends on the clock is said only after hydration: the server's clock and time zone
//! are not the reader's, and a page must come alive as it was sent.

use leptos::prelude::*;
use time::{Date, Month, OffsetDateTime};

/// Milliseconds since 1970.
pub fn now() -> i64 {
    #[cfg(feature = "hydrate")]
    return web_sys::js_sys::Date::now() as i64;
    #[cfg(not(feature = "hydrate"))]
    {
        let nanoseconds = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        i64::try_from(nanoseconds).unwrap_or_default()
    }
}

/// The present, for views: none until the page is alive, then renewed every half minute.
#[derive(Clone, Copy)]
pub struct Clock(RwSignal<Option<i64>>);

/// Starts the page's clock.
pub fn provide_clock() {
    let clock = RwSignal::new(None);
    provide_context(Clock(clock));
    #[cfg(feature = "hydrate")]
    Effect::new(move |_| {
        clock.set(Some(now()));
        gloo_timers::callback::Interval::new(30_000, move || clock.set(Some(now()))).forget();
    });
}

fn clock() -> Option<i64> {
    use_context::<Clock>().and_then(|clock| clock.0.get())
}

/// "5 min ago", or the day.
#[component]
pub fn When(#[prop(into)] at: Signal<i64>) -> impl IntoView {
    view! {
        <time datetime=move || machine(at.get())>{move || match clock() {
            Some(now) => ago(now - at.get(), at.get()),
            None => day_of(at.get()),
        }}</time>
    }
}

/// A due date, marked when it has passed and what is due is not done.
#[component]
pub fn Due(#[prop(into)] on: Signal<Option<Date>>, #[prop(into)] is_open: Signal<bool>) -> impl IntoView {
    let is_late = move || {
        let today = clock().and_then(date_of);
        is_open.get() && matches!((on.get(), today), (Some(due), Some(today)) if due < today)
    };
    move || {
        on.get().map(|due| {
            view! { <time datetime=due.to_string() data-late=move || is_late().then_some("")>{short(due)}</time> }
        })
    }
}

fn date_of(at: i64) -> Option<Date> {
    OffsetDateTime::from_unix_timestamp(at.div_euclid(1000)).ok().map(OffsetDateTime::date)
}

fn machine(at: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(at.div_euclid(1000)) else { return String::new() };
    let (date, time) = (at.date(), at.time());
    format!("{date}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}

fn day_of(at: i64) -> String {
    date_of(at).map(short).unwrap_or_default()
}

fn ago(passed: i64, at: i64) -> String {
    let minutes = passed / 60_000;
    match minutes {
        ..1 => "just now".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..1440 => format!("{} h ago", minutes / 60),
        _ => day_of(at),
    }
}

/// "24 Feb 2026".
pub fn short(date: Date) -> String {
    let month = match date.month() {
        Month::January => "Jan",
        Month::February => "Feb",
        Month::March => "Mar",
        Month::April => "Apr",
        Month::May => "May",
        Month::June => "Jun",
        Month::July => "Jul",
        Month::August => "Aug",
        Month::September => "Sep",
        Month::October => "Oct",
        Month::November => "Nov",
        Month::December => "Dec",
    };
    format!("{} {month} {}", date.day(), date.year())
}

/// The date that an `<input type="date">` gives; none where it is empty.
pub fn from_input(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-').map(str::parse::<u16>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) = (parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inputs_date_is_read_and_nonsense_is_not() {
        assert_eq!(from_input("2026-02-28").map(short).as_deref(), Some("28 Feb 2026"));
        for text in ["", "2026-02-30", "2026-13-01", "tomorrow"] {
            assert_eq!(from_input(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_past_is_told_in_the_measure_that_fits() {
        let at = 1_700_000_000_000;
        let told = |minutes: i64| ago(minutes * 60_000, at);
        assert_eq!([told(0), told(5), told(130), told(3000)], ["just now", "5 min ago", "2 h ago", "14 Nov 2023"]);
    }
}
