//! What is told to a person who was away.

use super::*;

/// What the page tells of the time that the person was away: record by record, before and after.
fn told(page: &mut Page) -> Vec<(Option<i64>, Option<i64>)> {
    let number = |value: &AnyValue| value.downcast_ref::<i64>().copied();
    let moved = page.client.take_moved();
    moved.iter().map(|moved| (number(&moved.before), moved.after.as_ref().and_then(number))).collect()
}

/// The watch that the key has now.
fn watch_of(page: &Page, key: &QueryKey) -> WatchNumber {
    page.client.entries[key].watch.expect("a watch")
}

#[test]
fn what_changed_during_a_cut_is_told_once_all_is_current_again() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.show(&record(2), number(7, "10:10:"));
    page.act(Client::disconnected);
    page.act(Client::connected);
    let (one, two) = (watch_of(&page, &record(1)), watch_of(&page, &record(2)));
    page.act(|client| client.ticked(tick("13:13:", &[(one, &[12])], &[one])));
    page.answer(Ok(number(6, "13:13:")));
    assert_eq!(told(&mut page), [], "the other is not judged yet");
    page.act(|client| client.ticked(tick("14:14:", &[], &[two])));
    assert_eq!(told(&mut page), [(Some(5), Some(6))]);
    page.act(|client| client.ticked(tick("16:16:", &[(one, &[15])], &[])));
    page.answer(Ok(number(8, "16:16:")));
    assert_eq!(told(&mut page), [], "what happens before one's eyes is no news");
}

#[test]
fn ones_own_changes_from_the_outbox_are_not_told_and_others_beside_them_are() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.show(&record(2), number(7, "10:10:"));
    page.act(Client::disconnected);
    let (first, second) = (page.add(1, 10), page.add(2, 100));
    page.act(Client::connected);
    let (one, two) = (watch_of(&page, &record(1)), watch_of(&page, &record(2)));
    page.act(|client| client.answered(first, &[], answer(11, "13:13:", 16)));
    let value = Some((record(2), Arc::new(107_i64) as AnyValue));
    page.act(|client| client.ticked(tick("13:13:", &[], &[one, two])));
    assert_eq!(told(&mut page), [], "the second is still on its way");
    page.act(|client| client.answered(second, &[], Answer { xid: Some(Xid(12)), stamp: stamp("13:13:"), value }));
    let mut all = told(&mut page);
    all.sort();
    assert_eq!(all, [(Some(15), Some(16)), (Some(107), Some(107))], "as they would be by oneself, and as they are");
}

/// A change of one's own that was made before a cut, and of which no answer comes: whether what it did is told as others' doing.
fn told_of_a_change_without_an_answer(
    hears_of_it: impl FnOnce(&mut Page, MutationId),
) -> Vec<(Option<i64>, Option<i64>)> {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 10);
    page.act(Client::disconnected);
    page.act(Client::connected);
    hears_of_it(&mut page, id);
    let one = watch_of(&page, &record(1));
    page.act(|client| client.ticked(tick("13:13:", &[(one, &[11])], &[one])));
    page.answer(Ok(number(15, "13:13:")));
    told(&mut page)
}

#[test]
fn ones_own_change_is_not_told_as_others_doing_whoever_says_that_it_was_carried_out() {
    let by_the_leader = |page: &mut Page, id| {
        let add = Arc::new(Add { id: thing(1), amount: 10 });
        let done = Progress::Done(Xid(11), vec![stamp("12:12:").epoch]);
        page.act(|client| client.follow(id, add, done, Sending::Perhaps));
    };
    assert_eq!(told_of_a_change_without_an_answer(by_the_leader), [(Some(15), Some(15))]);
    let by_the_connection = |page: &mut Page, id| {
        page.act(|client| client.failed(id, ApiError::new(Kind::Conflict, "no")));
        let passed = vec![Passed { mutation_id: id, xid: Xid(11) }];
        page.act(|client| client.ticked(Tick { mutations: passed, ..tick("12:12:", &[], &[]) }));
    };
    assert_eq!(told_of_a_change_without_an_answer(by_the_connection), [(Some(15), Some(15))]);
}

#[test]
fn who_looks_away_for_a_moment_is_told_nothing_and_who_was_away_for_long_is() {
    for (away, expected) in [(AWAY_AFTER - 1, vec![]), (AWAY_AFTER, vec![(Some(5), Some(6))])] {
        let mut page = Page::live();
        let one = page.show(&record(1), number(5, "10:10:"));
        page.act(|client| client.unseen(1_000));
        page.act(|client| client.ticked(tick("13:13:", &[(one, &[12])], &[])));
        page.answer(Ok(number(6, "13:13:")));
        assert_eq!(told(&mut page), [], "nobody looks");
        page.act(|client| client.seen(1_000 + away));
        assert_eq!(told(&mut page), expected, "after {away} ms");
    }
}

#[test]
fn a_cut_is_told_of_when_somebody_looks_again_however_short_it_was() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.act(|client| client.unseen(1_000));
    page.act(Client::disconnected);
    page.act(Client::connected);
    let one = watch_of(&page, &record(1));
    page.act(|client| client.ticked(tick("13:13:", &[(one, &[12])], &[one])));
    page.answer(Ok(number(6, "13:13:")));
    assert_eq!(told(&mut page), []);
    page.act(|client| client.seen(2_000));
    assert_eq!(told(&mut page), [(Some(5), Some(6))]);
}

#[test]
fn a_page_that_begins_with_kept_values_tells_what_changed_since_and_one_that_the_server_sent_does_not() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(|client| client.hydrate(&record(2), Ok(number(7, "10:10:"))));
    page.act(Client::found_outbox);
    page.act(|client| client.found_kept([(record(1), stamp("10:10:"))].into()));
    page.act(|client| client.ensure(&record(1), 0));
    page.act(|client| client.restored(&record(1), Some(number(5, "10:10:")), &[]));
    page.act(|client| [record(1), record(2)].iter().for_each(|key| client.observe(key)));
    page.act(Client::connected);
    let (one, two) = (watch_of(&page, &record(1)), watch_of(&page, &record(2)));
    page.act(|client| client.ticked(tick("13:13:", &[(one, &[12]), (two, &[12])], &[one, two])));
    while let Some((key, ..)) = page.fetches.first().cloned() {
        page.answer(Ok(number(if key == record(1) { 6 } else { 8 }, "13:13:")));
    }
    assert_eq!(told(&mut page), [(Some(5), Some(6))]);
}

#[test]
fn what_was_deleted_meanwhile_is_told_as_gone_and_nothing_of_an_organization_that_one_has_left() {
    let gone = |leaves: bool| {
        let mut page = Page::live();
        page.show(&record(1), number(5, "10:10:"));
        page.act(Client::disconnected);
        page.act(Client::connected);
        let one = watch_of(&page, &record(1));
        page.act(|client| client.ticked(tick("13:13:", &[(one, &[12])], &[one])));
        if leaves {
            let left = Rights { organization: organization(), standing: Standing::Removed, by: None };
            page.act(|client| client.rights_changed(vec![left]));
        } else {
            page.answer(Err(not_found("13:13:")));
        }
        told(&mut page)
    };
    assert_eq!(gone(false), [(Some(5), None)]);
    assert_eq!(gone(true), []);
}
