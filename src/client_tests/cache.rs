//! What is in memory and for how long, and what only time vouches for.

use super::*;
use crate::key::Shape;

fn question(name: &str) -> QueryKey {
    QueryKey { organization: OrganizationId::NONE, table: "rates", shape: Shape::Unwatched(format!("{name:?}")) }
}

fn told(page: &mut Page, value: i64, at: u64) {
    let (key, ticket, _) = page.fetches.remove(0);
    page.act(|client| {
        client.fetched(&key, ticket, &Question::default(), Ok(Found::unstamped(Arc::new(value) as AnyValue)))
    });
    page.client.came(&key, at);
}

#[test]
fn where_values_are_too_many_those_go_first_that_were_shown_longest_ago() {
    let mut page = Page::live();
    for id in 1..=4 {
        page.show(&record(id), number(5, "10:10:"));
        page.client.weighs(&record(id), 100);
    }
    // The first is still shown; of the others, the third was shown longest ago.
    for (id, at) in [(2, 2_000), (3, 1_000), (4, 3_000)] {
        page.act(|client| client.unobserve(&record(id), at));
    }
    let held = |page: &Page| (1..=4).filter(|id| page.client.holds(&record(*id))).collect::<Vec<_>>();
    page.act(|client| client.collect(3_000, 60_000, 400));
    assert_eq!(held(&page), [1, 2, 3, 4], "it fits");
    page.act(|client| client.collect(3_000, 60_000, 350));
    assert_eq!(held(&page), [1, 2, 4]);
    page.act(|client| client.collect(3_000, 60_000, 0));
    assert_eq!((held(&page), page.client.bytes()), (vec![1], 100), "what is shown stays");
}

#[test]
fn a_value_under_a_change_that_has_no_answer_yet_is_not_forgotten() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.add(1, 3);
    page.act(|client| client.unobserve(&record(1), 0));
    page.act(|client| client.collect(u64::MAX, 0, 0));
    assert_eq!(page.shown(&record(1)), Some(8));
}

#[test]
fn what_was_fetched_ahead_and_never_shown_is_forgotten_too() {
    let mut page = Page::live();
    page.act(|client| client.ensure(&record(1), 1_000));
    page.answer(Ok(number(5, "10:10:")));
    page.act(|client| client.collect(1_500, 1_000, usize::MAX));
    assert!(page.client.holds(&record(1)));
    page.act(|client| client.collect(2_000, 1_000, usize::MAX));
    assert!(!page.client.holds(&record(1)));
}

#[test]
fn what_was_fetched_ahead_is_shown_without_another_fetch_and_watched_as_of_when_it_was_read() {
    let mut page = Page::live();
    page.act(|client| client.ensure(&record(1), 0));
    page.answer(Ok(number(5, "10:10:")));
    assert!(page.frames.is_empty(), "nobody shows it");
    page.act(|client| client.observe(&record(1)));
    assert_eq!((page.fetches.len(), page.frames.len(), page.shown(&record(1))), (0, 1, Some(5)));
}

#[test]
fn what_is_no_live_table_is_fetched_once_and_never_watched() {
    let mut page = Page::live();
    page.act(|client| client.observe(&question("eur")));
    page.act(|client| client.observe(&question("eur")));
    assert!(page.client.questions().is_empty(), "nor is a leader asked for it");
    told(&mut page, 7, 1_000);
    assert_eq!((page.fetches.len(), page.frames.len(), page.shown(&question("eur"))), (0, 0, Some(7)));
    page.act(|client| client.belongs_to(&[]));
    assert_eq!(page.shown(&question("eur")), Some(7), "it is of no organization");
}

#[test]
fn what_only_time_vouches_for_is_asked_again_when_that_is_over_and_somebody_looks() {
    let mut page = Page::live();
    page.act(|client| client.observe(&question("eur")));
    told(&mut page, 7, 1_000);
    page.act(|client| client.is_fresh_for(&question("eur"), 500, 1_400));
    page.act(|client| client.look_again(1_499));
    assert!(page.fetches.is_empty(), "still fresh");
    page.act(|client| client.look_again(1_500));
    assert_eq!(page.fetches.len(), 1);
    assert!(page.client.view(&question("eur")).is_stale, "and the old one is shown meanwhile, as such");
    told(&mut page, 8, 1_600);
    assert!(!page.client.view(&question("eur")).is_stale);
    page.act(|client| client.unobserve(&question("eur"), 1_600));
    page.act(|client| client.look_again(9_000));
    assert!(page.fetches.is_empty(), "nobody shows it");
    page.act(|client| client.observe(&question("eur")));
    page.act(|client| client.is_fresh_for(&question("eur"), 500, 9_000));
    assert_eq!(page.fetches.len(), 1);
}

#[test]
fn coming_back_asks_again_for_nothing_that_has_a_snapshot() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.act(|client| client.look_again(u64::MAX));
    assert!(page.fetches.is_empty());
}

#[test]
fn what_is_invalidated_by_name_is_asked_again_where_it_is_shown_and_elsewhere_when_it_is() {
    let mut page = Page::live();
    for name in ["eur", "usd"] {
        page.act(|client| client.observe(&question(name)));
        told(&mut page, 7, 0);
    }
    page.act(|client| client.unobserve(&question("usd"), 0));
    page.act(|client| client.invalidate("rates"));
    assert_eq!(page.fetches.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>(), [question("eur")]);
    page.act(|client| client.observe(&question("usd")));
    assert_eq!(page.fetches.len(), 2);
}

#[test]
fn a_key_that_asks_for_the_same_as_another_takes_its_value_and_its_stamp() {
    let mut page = Page::live();
    page.show(&list("first"), read_of(Arc::new(vec![5_i64]), "10:10:"));
    page.act(|client| client.ticked(tick("20:20:", &[], &[])));
    page.act(|client| {
        client.adopt(&list("to 5"), &list("first"));
        client.observe(&list("to 5"));
    });
    assert!(page.fetches.is_empty());
    let Some(ClientFrame::Watch { keys }) = page.frames.last() else { panic!("no watch") };
    assert_eq!(keys[0].snapshot, snapshot("20:20:"), "the cursor vouched for the one, so it does for the other");
}

#[test]
fn what_is_missing_from_a_value_is_missing_from_its_copy() {
    let mut page = Page::live();
    let number = page.show(&list("first"), read_of(Arc::new(vec![5_i64]), "10:10:"));
    page.act(|client| client.ticked(tick("20:20:", &[(number, &[15])], &[])));
    page.fetches.clear();
    page.act(|client| {
        client.adopt(&list("to 5"), &list("first"));
        client.observe(&list("to 5"));
    });
    assert_eq!(page.fetches.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>(), [list("to 5")]);
}

#[test]
fn of_a_hundred_and_fifty_keys_each_is_watched_once_and_given_back_by_the_last_who_shows_it() {
    let mut page = Page::live();
    let keys: Vec<_> = (1..=150).map(record).collect();
    for key in &keys {
        page.act(|client| client.hydrate(key, Ok(number(5, "10:10:"))));
    }
    page.act(|client| keys.iter().chain(&keys).chain(&keys).for_each(|key| client.observe(key)));
    let watched = |page: &Page| -> Vec<WatchNumber> {
        let frames = page.frames.iter().filter_map(|frame| match frame {
            ClientFrame::Watch { keys } => Some(keys.iter().map(|watch| watch.number).collect::<Vec<_>>()),
            _ => None,
        });
        frames.flatten().collect()
    };
    assert_eq!(watched(&page), (1..=150).collect::<Vec<_>>());
    page.act(|client| keys.iter().chain(&keys).for_each(|key| client.unobserve(key, 0)));
    assert_eq!(page.frames.len(), 1, "somebody shows each of them still");
    page.act(|client| keys.iter().for_each(|key| client.unobserve(key, 0)));
    let Some(ClientFrame::Unwatch { numbers }) = page.frames.last() else { panic!("nothing is given back") };
    let mut numbers = numbers.clone();
    numbers.sort_unstable();
    assert_eq!((numbers, page.fetches.len()), (watched(&page), 0));
}
