//! The outbox: what is refused, what is sent by whom, and what the device keeps for it.

use super::*;

#[test]
fn a_refused_mutation_leaves_the_screen_and_waits_in_the_outbox_until_it_is_dropped() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    page.act(|client| client.failed(id, ApiError::forbidden("add")));
    assert_eq!(page.shown(&record(1)), Some(5), "the truth");
    let outbox = page.client.outbox();
    assert_eq!((outbox.len(), &outbox[0].label[..]), (1, "Add 3"));
    assert!(matches!(&outbox[0].state, WaitingState::Refused(error) if error.kind == Kind::Forbidden));
    page.act(|client| client.drop_mutation(id));
    assert!(page.client.outbox().is_empty());
    assert_eq!(page.forgotten, [id]);
}

#[test]
fn a_refused_mutation_that_is_tried_again_is_another_one() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    page.act(|client| client.failed(id, ApiError::forbidden("add")));
    let again = MutationId::fresh();
    page.act(|client| client.retry_held(id, again));
    assert_eq!(page.shown(&record(1)), Some(8));
    assert_eq!(page.sent, [id, again]);
    assert_eq!(page.forgotten, [id]);
    assert!(page.client.mutation(id).is_none());
    // Another tab's person, or an impatient one, wanted the same.
    page.act(|client| client.retry_held(id, MutationId::fresh()));
    assert_eq!(page.sent, [id, again]);
}

#[test]
fn what_the_server_failed_over_may_be_done_and_is_tried_again_under_its_id() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    for _ in 0..6 {
        page.act(|client| client.failed(id, ApiError::internal()));
        page.act(|client| client.retry_mutations(&[id]));
    }
    assert!(matches!(page.client.outbox()[0].state, WaitingState::Refused(_)));
    let sent = page.sent.len();
    page.act(|client| client.retry_held(id, MutationId::fresh()));
    assert_eq!(page.shown(&record(1)), Some(8));
    assert_eq!(page.sent[sent..], [id]);
}

#[test]
fn an_ended_session_pauses_the_outbox_and_loses_nothing() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    page.act(|client| client.failed(id, ApiError::unauthenticated()));
    assert_eq!(page.shown(&record(1)), Some(8), "still what was typed");
    assert_eq!(page.other, [Effect::SignedOut]);
    page.act(Client::disconnected);
    page.act(Client::connected);
    assert_eq!(page.sent, [id, id], "sent again once there is a way through");
}

#[test]
fn what_the_server_cannot_do_again_and_again_is_left_to_the_person() {
    let mut page = Page::live();
    let id = page.add(1, 3);
    for _ in 0..5 {
        page.act(|client| client.failed(id, ApiError::internal()));
        page.act(|client| client.retry_mutations(&[id]));
    }
    assert_eq!(page.sent.len(), 6);
    page.act(|client| client.failed(id, ApiError::internal()));
    assert!(matches!(page.client.outbox()[0].state, WaitingState::Refused(_)));
    let cut = page.add(2, 1);
    for _ in 0..50 {
        page.act(|client| client.failed(cut, ApiError::new(Kind::Unreachable, "cut")));
        page.act(|client| client.retry_mutations(&[cut]));
    }
    assert_eq!(page.sent.len(), 6 + 51, "no network is no refusal");
}

#[test]
fn only_the_sending_tab_sends_and_its_successor_sends_again_what_is_unanswered() {
    let mut page = Page::live();
    page.act(|client| client.set_sender(false));
    let id = page.add(1, 3);
    assert!(page.sent.is_empty());
    page.act(|client| client.set_sender(true));
    assert_eq!(page.sent, [id]);
    page.act(|client| client.set_sender(false));
    page.act(|client| client.set_sender(true));
    assert_eq!(page.sent, [id, id], "whether the other tab had sent it, nobody knows");
}

#[test]
fn mutations_of_all_tabs_lie_over_a_value_in_the_order_in_which_they_were_made() {
    let mut page = Page::live();
    let (first, second) = (MutationId::fresh(), MutationId::fresh());
    let add = |amount| Arc::new(Add { id: thing(1), amount }) as crate::overlay::AnyMutation;
    page.act(|client| client.mutate(second, add(2)));
    page.act(|client| client.learn(first, add(1), Progress::Made, Sending::Perhaps));
    page.act(|client| client.learn(first, add(1), Progress::Made, Sending::Perhaps));
    let ids: Vec<_> = page.client.mutations().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, [first, second]);
}

#[test]
fn a_mutation_is_kept_until_every_kept_value_contains_it() {
    let mut page = Page::default();
    page.act(Client::await_device);
    let kept = HashMap::from([(record(1), stamp("9:9:")), (list("all"), stamp("9:9:"))]);
    page.act(Client::found_outbox);
    page.act(|client| client.found_kept(kept));
    page.act(Client::connected);
    page.act(|client| client.hydrate(&record(1), Ok(number(5, "10:10:"))));
    let id = page.add(1, 3);
    page.act(|client| client.answered(id, &[], answer(10, "11:11:", 8)));
    assert!(page.forgotten.is_empty(), "two kept values do not hold it yet");
    page.act(|client| client.was_kept(&record(1), stamp("11:11:")));
    assert!(page.forgotten.is_empty(), "the list does not");
    // A page that starts from the kept list shows what was done.
    page.act(|client| client.ensure(&list("all"), 0));
    assert_eq!(page.other, [Effect::Restore { key: list("all") }]);
    page.act(|client| client.restored(&list("all"), Some(read_of(Arc::new(vec![5_i64]), "9:9:")), &[]));
    let shown = page.client.view(&list("all")).data.and_then(|data| data.downcast_ref::<Vec<i64>>().cloned());
    assert_eq!(shown, Some(vec![8]));
    page.act(|client| client.was_kept(&list("all"), stamp("12:12:")));
    assert!(page.forgotten.is_empty(), "what is on screen is older than what is kept");
    page.act(|client| client.offered(&list("all"), &Question::default(), Ok(read_of(Arc::new(vec![8_i64]), "12:12:"))));
    assert_eq!(page.forgotten, [id]);
}

#[test]
fn what_is_kept_is_shown_before_the_server_is_asked_and_judged_by_it_afterwards() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(|client| client.observe(&record(1)));
    assert!(page.fetches.is_empty() && page.other.is_empty(), "not before it is known what was done");
    page.act(Client::found_outbox);
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("9:9:"))])));
    assert_eq!(page.other, [Effect::Restore { key: record(1) }]);
    page.act(|client| client.restored(&record(1), Some(number(5, "9:9:")), &[]));
    assert_eq!(page.shown(&record(1)), Some(5));
    page.act(Client::connected);
    assert!(page.fetches.is_empty(), "its stamp is asked about, not its value");
    page.act(|client| client.ticked(tick("12:12:", &[(1, &[10])], &[1])));
    assert_eq!(page.fetches.len(), 1);
}

#[test]
fn what_is_kept_is_shown_before_all_stamps_are_known_and_nothing_is_forgotten_until_then() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(|client| client.observe(&record(1)));
    page.act(Client::found_outbox);
    assert_eq!(page.other, [Effect::Restore { key: record(1) }]);
    page.act(|client| client.restored(&record(1), Some(number(5, "9:9:")), &[]));
    assert_eq!(page.shown(&record(1)), Some(5));
    page.act(Client::connected);
    let id = page.add(1, 3);
    page.act(|client| client.answered(id, &[], answer(10, "11:11:", 8)));
    page.act(|client| client.was_kept(&record(1), stamp("11:11:")));
    assert!(page.forgotten.is_empty(), "a kept list may lack it");
    let kept = HashMap::from([(record(1), stamp("9:9:")), (list("all"), stamp("9:9:"))]);
    page.act(|client| client.found_kept(kept));
    assert!(page.forgotten.is_empty(), "a kept list lacks it");
    page.act(|client| client.was_kept(&list("all"), stamp("12:12:")));
    assert_eq!(page.forgotten, [id], "what was written since the stamps were read is newer than they say");
}

#[test]
fn what_is_not_kept_is_fetched_though_not_all_stamps_are_known() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(Client::found_outbox);
    page.act(|client| client.observe(&record(1)));
    page.act(|client| client.restored(&record(1), None, &[]));
    assert_eq!(page.fetches.len(), 1);
}

#[test]
fn what_is_forgotten_while_the_stamps_are_read_is_not_waited_for() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(Client::found_outbox);
    page.act(Client::connected);
    let rights = Rights { organization: organization(), standing: Standing::Changed, by: None };
    page.act(|client| client.rights_changed(vec![rights]));
    page.act(|client| client.observe(&record(1)));
    assert_eq!(page.fetches.len(), 1, "nothing is looked for");
    page.answer(Ok(number(5, "10:10:")));
    let id = page.add(1, 3);
    page.act(|client| client.answered(id, &[], answer(10, "11:11:", 8)));
    page.act(|client| client.found_kept(HashMap::from([(list("all"), stamp("9:9:"))])));
    assert_eq!(page.forgotten, [id]);
}

#[test]
fn nothing_is_restored_of_an_organization_that_one_has_left_and_what_is_found_of_it_is_wiped() {
    let mut page = Page::default();
    let other = QueryKey { organization: OrganizationId(Uuid::from_u128(2)), ..record(1) };
    page.act(Client::await_device);
    page.act(|client| client.belongs_to(&[organization()]));
    page.act(Client::found_outbox);
    page.act(|client| client.observe(&other));
    assert_eq!(page.fetches.len(), 1, "nothing is restored");
    page.client.found_kept(HashMap::from([(other.clone(), stamp("9:9:"))]));
    assert!(page.client.take_effects().contains(&Effect::ForgetKept(other.organization)));
}

#[test]
fn what_is_kept_and_cannot_be_read_is_fetched() {
    let mut page = Page::live();
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("9:9:"))])));
    page.act(|client| client.observe(&record(1)));
    page.act(|client| client.restored(&record(1), None, &[]));
    assert_eq!(page.fetches.len(), 1);
}

#[test]
fn pending_is_shown_only_of_what_takes_long() {
    let mut page = Page::live();
    let id = page.add(1, 3);
    assert!(page.client.pending_records(id.made_at() + SHOWN_AS_PENDING_AFTER - 1).is_empty());
    assert_eq!(page.client.pending_records(id.made_at() + SHOWN_AS_PENDING_AFTER).len(), 1);
}

#[test]
fn a_mutation_that_lies_over_a_value_that_nobody_shows_goes_with_it() {
    let mut page = Page::live();
    page.act(|client| client.hydrate(&record(1), Ok(number(5, "10:10:"))));
    page.act(|client| client.observe(&record(1)));
    let id = page.add(1, 3);
    page.act(|client| client.unobserve(&record(1), 0));
    page.answered(id, 10, "11:11:");
    assert!(page.forgotten.is_empty(), "the value does not hold it");
    page.act(|client| client.collect(10_000, 1_000, usize::MAX));
    assert_eq!(page.forgotten, [id]);
}

#[test]
fn what_is_kept_of_an_organization_that_one_has_left_meanwhile_is_wiped() {
    let mut page = Page::default();
    let other = QueryKey { organization: OrganizationId(Uuid::from_u128(2)), ..record(1) };
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("9:9:")), (other.clone(), stamp("9:9:"))])));
    page.act(|client| client.belongs_to(&[organization()]));
    assert_eq!(page.other, [Effect::Left(other.organization)]);
    page.act(|client| client.observe(&other));
    assert_eq!(page.fetches.len(), 1, "nothing is restored");
}

#[test]
fn a_read_names_only_mutations_that_may_have_been_carried_out() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let first = page.add(1, 3);
    let second = page.add(1, 4);
    page.act(|client| client.observe(&list("all")));
    assert_eq!(page.fetches[0].2.named, [first], "the second waits for the first");
    // What is sent after the read began may be in it all the same: such a read is made again, and names it.
    page.act(|client| client.answered(first, &[], answer(10, "11:11:", 8)));
    assert_eq!(page.sent, [first, second]);
    page.answer(Ok(read_of(Arc::new(vec![12_i64]), "12:12:")));
    assert_eq!(page.fetches[0].2.named, [second]);
}

#[test]
fn what_was_kept_by_other_rights_is_not_restored() {
    let mut page = Page::live();
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("9:9:"))])));
    let rights = Rights { organization: organization(), standing: Standing::Changed, by: None };
    page.act(|client| client.rights_changed(vec![rights]));
    page.act(|client| client.observe(&record(1)));
    assert_eq!(page.fetches.len(), 1);
}

#[test]
fn each_fetch_says_why_it_is_made() {
    let mut page = Page::live();
    page.act(|client| client.observe(&record(1)));
    page.answer(Ok(number(5, "10:10:")));
    let number_of = page.client.entries[&record(1)].watch.expect("a watch");
    page.act(|client| client.ticked(tick("11:11:", &[], &[number_of])));
    page.act(|client| client.ticked(tick("13:13:", &[(number_of, &[12])], &[])));
    page.answer(Ok(number(6, "13:13:")));
    page.act(|client| client.ticked(tick("15:15:", &[(number_of, &[])], &[])));
    page.answer(Err(ApiError::new(Kind::Unreachable, "away")));
    page.act(|client| client.retry_fetch(&record(1)));
    page.answer(Err(ApiError::new(Kind::Unreachable, "away")));
    page.act(|client| client.ask_again(&record(1)));
    page.answer(Ok(number(7, "15:15:")));
    page.act(|client| {
        client.rights_changed(vec![Rights { organization: organization(), standing: Standing::Changed, by: None }]);
    });
    page.answer(Ok(number(7, "16:16:")));
    assert_eq!(
        page.reasons,
        [Reason::FirstLook, Reason::Change(Xid(12)), Reason::Changes, Reason::Failed, Reason::Asked, Reason::Rights]
    );
}

#[test]
fn a_fetch_for_a_change_of_ones_own_names_the_mutation() {
    let mut page = Page::live();
    page.show(&list("all"), read_of(Arc::new(vec![1_i64]), "10:10:"));
    let own = page.add(1, 1);
    page.answered(own, 12, "13:13:");
    let number = page.client.entries[&list("all")].watch.expect("a watch");
    page.act(|client| client.ticked(tick("13:13:", &[(number, &[12])], &[])));
    assert_eq!(page.reasons, [Reason::Own(own)]);
}
