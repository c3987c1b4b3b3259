//! Mutations that go in one request.

use super::*;
use crate::client::Outcome;

fn done(answer: Answer) -> Outcome {
    Outcome::Done { answer, after: Vec::new() }
}

fn adds(page: &mut Page, ids: &[u128]) -> Vec<MutationId> {
    let made = |id: &u128| {
        let id = MutationId(Uuid::from_u128(*id));
        page.act(|client| client.mutate(id, Arc::new(Add { id: thing(1), amount: 1 })));
        id
    };
    ids.iter().map(made).collect()
}

/// A page that was offline: three mutations of one record wait, and go now.
fn waiting() -> (Page, Vec<MutationId>) {
    let mut page = Page::live();
    let ids = go_together(&mut page);
    (page, ids)
}

fn go_together(page: &mut Page) -> Vec<MutationId> {
    page.act(|client| client.set_sender(false));
    let ids = adds(page, &[1, 2, 3]);
    page.act(|client| client.set_sender(true));
    ids
}

#[test]
fn what_has_waited_goes_in_one_request_in_order() {
    let (page, ids) = waiting();
    assert_eq!(page.requests, [ids]);
}

#[test]
fn one_that_is_refused_in_the_midst_is_held_alone() {
    let (mut page, ids) = waiting();
    page.act(|client| {
        client.heard(vec![
            (ids[0], done(answer(20, "21:21:", 1))),
            (ids[1], Outcome::Failed(ApiError::field("amount", "is too much"))),
            (ids[2], done(answer(22, "23:23:", 2))),
        ]);
    });
    let outbox = page.client.outbox();
    assert_eq!(outbox.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), [ids[1]]);
    assert!(matches!(outbox[0].state, WaitingState::Refused(_)));
    assert_eq!(page.requests.len(), 1, "nothing goes again");
}

#[test]
fn after_a_failure_in_passing_the_rest_waits_with_it_and_goes_with_it_in_order() {
    let (mut page, ids) = waiting();
    page.act(|client| {
        client.heard(vec![
            (ids[0], done(answer(20, "21:21:", 1))),
            (ids[1], Outcome::Failed(ApiError::new(Kind::Unreachable, "away"))),
            (ids[2], Outcome::NotBegun),
        ]);
    });
    assert_eq!(page.requests.len(), 1);
    let retry = Effect::RetryMutations { mutations: vec![ids[1], ids[2]], failed: 1 };
    assert_eq!(page.other, [retry]);
    page.act(|client| client.retry_mutations(&[ids[1], ids[2]]));
    assert_eq!(page.requests[1..], [vec![ids[1], ids[2]]]);
}

#[test]
fn what_was_not_begun_goes_on_without_one_that_is_left_to_the_person() {
    let (mut page, ids) = waiting();
    for _ in 0..5 {
        page.act(|client| client.heard(vec![(ids[0], Outcome::Failed(ApiError::internal()))]));
        page.act(|client| client.retry_mutations(&[ids[0]]));
    }
    page.requests.clear();
    page.act(|client| {
        client.heard(vec![
            (ids[0], Outcome::Failed(ApiError::internal())),
            (ids[1], Outcome::NotBegun),
            (ids[2], Outcome::NotBegun),
        ]);
    });
    assert_eq!(page.requests, [vec![ids[1], ids[2]]]);
}

#[test]
fn the_value_of_the_last_is_taken_for_all_and_nothing_is_fetched() {
    let (mut page, ids) = waiting();
    page.act(|client| client.observe(&record(1)));
    page.act(|client| {
        client.heard(vec![
            (ids[0], done(answer(20, "21:21:", 1))),
            (ids[1], done(answer(21, "22:22:", 2))),
            (ids[2], done(answer(22, "23:23:", 3))),
        ]);
    });
    assert_eq!(page.shown(&record(1)), Some(3));
    assert!(page.fetches.is_empty(), "{:?}", page.fetches);
    assert_eq!(page.forgotten, ids);
}

#[test]
fn a_value_is_written_down_once_however_many_mutations_wait_for_that() {
    let mut page = Page::live();
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("10:10:"))])));
    page.act(|client| client.hydrate(&record(1), Ok(number(0, "10:10:"))));
    page.act(|client| client.set_sender(false));
    let ids = adds(&mut page, &[1, 2, 3]);
    page.client.set_sender(true);
    page.client
        .heard(ids.iter().zip(20_u64..).map(|(id, xid)| (*id, done(answer(xid, "30:30:", xid as i64 - 19)))).collect());
    let keeps = |page: &mut Page| {
        let effects = page.client.take_effects();
        effects.iter().filter(|effect| **effect == Effect::Keep(record(1))).count()
    };
    assert_eq!(keeps(&mut page), 1);
    page.client.ticked(tick("31:31:", &[], &[]));
    assert_eq!(keeps(&mut page), 0, "it is being written");
    page.client.was_not_kept(&record(1));
    page.client.ticked(tick("32:32:", &[], &[]));
    assert_eq!(keeps(&mut page), 1, "again, for it failed");
    page.client.was_kept(&record(1), stamp("30:30:"));
    assert!(page.client.mutations().is_empty());
}

#[test]
fn a_list_that_one_request_changes_again_and_again_is_read_once_it_is_answered() {
    let mut page = Page::live();
    let number = page.show(&list("all"), read_of(Arc::new(vec![0_i64]), "10:10:"));
    let ids = go_together(&mut page);
    for xid in 20..23 {
        page.act(|client| client.ticked(tick(&format!("{0}:{0}:", xid + 1), &[(number, &[xid])], &[])));
    }
    assert!(page.fetches.is_empty(), "{:?}", page.fetches);
    page.act(|client| {
        let carried_out = |(id, xid): (&MutationId, u64)| (*id, done(answer(xid, "30:30:", xid as i64 - 19)));
        client.heard(ids.iter().zip(20..).map(carried_out).collect());
    });
    assert_eq!(page.fetches.iter().map(|(key, ..)| key).collect::<Vec<_>>(), [&list("all")]);
}

#[test]
fn a_list_does_not_stand_still_for_a_request_that_is_not_answered() {
    let mut page = Page::live();
    let number = page.show(&list("all"), read_of(Arc::new(vec![0_i64]), "10:10:"));
    go_together(&mut page);
    page.act(|client| client.ticked(tick("21:21:", &[(number, &[20])], &[])));
    let heartbeats = |page: &mut Page, count: u64| {
        for _ in 0..count {
            page.act(|client| client.ticked(tick("22:22:", &[], &[])));
        }
    };
    // The tick that named it was the first.
    heartbeats(&mut page, MOST_TICKS_POSTPONED - 2);
    assert!(page.fetches.is_empty(), "{:?}", page.fetches);
    heartbeats(&mut page, 1);
    assert_eq!(page.fetches.len(), 1);
}

#[test]
fn an_answer_says_which_of_its_request_went_before_it_but_not_where_it_may_be_older_than_they_are() {
    let mut page = Page::live();
    let ids = adds(&mut page, &[1, 2, 3]);
    page.act(|client| client.heard(vec![(ids[0], done(answer(20, "21:21:", 1)))]));
    assert_eq!(page.requests, [vec![ids[0]], vec![ids[1], ids[2]]]);
    let after = |page: &Page| {
        let mut outcomes = vec![(ids[1], done(answer(22, "23:23:", 2))), (ids[2], done(answer(24, "25:25:", 3)))];
        page.client.say_after(&mut outcomes);
        let after = outcomes.into_iter().map(|(_, outcome)| match outcome {
            Outcome::Done { after, .. } => after,
            Outcome::Failed(_) | Outcome::NotBegun => Vec::new(),
        });
        after.collect::<Vec<_>>()
    };
    assert_eq!(after(&page), [vec![], vec![ids[1]]]);
    // Nobody hears what came of it: the second may be refused at first and carried out later, and the third has its answer.
    let cut = || Outcome::Failed(ApiError::new(Kind::Unreachable, "cut"));
    page.act(|client| client.heard(vec![(ids[1], cut()), (ids[2], cut())]));
    page.act(|client| client.retry_mutations(&ids[1..]));
    assert_eq!(page.requests.last(), Some(&ids[1..].to_vec()));
    assert_eq!(after(&page), [vec![], vec![]]);
}

#[test]
fn a_value_is_taken_although_later_changes_of_its_request_are_not_in_it() {
    let (mut page, ids) = waiting();
    page.act(|client| client.observe(&record(1)));
    let brings_nothing = |xid, at| done(Answer { value: None, ..answer(xid, at, 0) });
    page.act(|client| {
        client.heard(vec![
            (ids[0], done(answer(20, "21:21:", 1))),
            (ids[1], brings_nothing(21, "22:22:")),
            (ids[2], brings_nothing(22, "23:23:")),
        ]);
    });
    assert_eq!(page.shown(&record(1)), Some(3), "the two are over it");
    assert_eq!(page.reasons, [Reason::Own(ids[1])], "and are read");
}
