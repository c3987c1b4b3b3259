//! Several tabs of a person and the device that they share: what is learned late, or from others.

use super::*;

fn after(question: &Question, ids: &[MutationId]) -> Question {
    Question { after: ids.to_vec(), ..question.clone() }
}

#[test]
fn an_answer_that_was_asked_for_with_other_names_is_judged_by_those() {
    let mut page = Page::live();
    page.show(&list("all"), read_of(Arc::new(vec![5_i64]), "10:10:"));
    let id = page.add(1, 3);
    page.act(|client| client.ticked(tick("12:12:", &[(1, &[11])], &[])));
    assert_eq!(page.fetches[0].2.named, [id]);
    // Another tab had asked before the change was known to it: nobody can tell whether this contains it.
    let brought = read_of(Arc::new(vec![8_i64]), "13:13:");
    page.act(|client| client.offered(&list("all"), &Question::default(), Ok(brought.clone())));
    let shown =
        |page: &Page| page.client.view(&list("all")).data.and_then(|data| data.downcast_ref::<Vec<i64>>().cloned());
    assert_eq!(shown(&page), Some(vec![8]), "what was, with the change over it");
    assert_eq!(page.fetches.len(), 2, "it is asked again");
    // Where it was carried out before the other tab asked, it is in it.
    page.act(|client| client.offered(&list("all"), &after(&Question::default(), &[id]), Ok(brought)));
    assert_eq!(shown(&page), Some(vec![8]), "and no longer over it");
}

#[test]
fn an_answer_to_anothers_question_does_not_meet_a_need_for_a_read_from_now_on() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let rights = Rights { organization: organization(), standing: Standing::Changed, by: None };
    page.act(|client| client.rights_changed(vec![rights]));
    assert_eq!(page.fetches.len(), 1);
    page.act(|client| client.offered(&record(1), &Question::default(), Ok(number(5, "11:11:"))));
    assert_eq!(page.fetches.len(), 2, "it may have been read by the rights before");
    page.fetches.remove(0);
    page.answer(Ok(number(5, "12:12:")));
    assert!(page.fetches.is_empty());
}

#[test]
fn what_was_read_before_the_person_left_is_not_taken_afterwards() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.act(|client| {
        client.rights_changed(vec![Rights { organization: organization(), standing: Standing::Removed, by: None }])
    });
    page.act(|client| client.offered(&record(1), &Question::default(), Ok(number(5, "11:11:"))));
    assert_eq!(page.shown(&record(1)), None);
}

// Found by the simulator, seed 45: a page that was just opened read what the change was in already, and then heard of it.
#[test]
fn a_change_that_becomes_known_after_a_value_is_not_laid_over_it_before_that_is_read_again() {
    let mut page = Page::live();
    page.show(&record(1), number(8, "11:11:"));
    let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
    page.act(|client| client.set_sender(false));
    page.act(|client| client.learn(id, add.clone(), Progress::Made, Sending::Perhaps));
    assert_eq!(page.shown(&record(1)), Some(8), "nobody can tell whether it is in it");
    assert_eq!(page.fetches[0].2.named, [id]);
    page.answer(Ok(Read { contains: vec![id], ..number(8, "12:12:") }));
    assert_eq!(page.shown(&record(1)), Some(8));
    // What nobody can have sent is in nothing.
    let fresh = MutationId::fresh();
    page.act(|client| client.learn(fresh, add, Progress::Made, Sending::NotYet));
    assert_eq!(page.shown(&record(1)), Some(11));
    assert!(page.fetches.is_empty());
}

// Found by the simulator, seed 1: the leader had heard the refusal before this tab listened to it.
#[test]
fn a_tab_follows_what_the_leader_says_of_a_change_that_it_knows_already() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    page.act(|client| client.set_sender(false));
    let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
    page.act(|client| client.mutate(id, add.clone()));
    let held = Progress::Held(ApiError::new(Kind::Conflict, "no"));
    page.act(|client| client.follow(id, add, held, Sending::Perhaps));
    assert_eq!(page.shown(&record(1)), Some(5));
    assert!(page.other.iter().any(|effect| matches!(effect, Effect::Refused { .. })), "the person is told");
}

#[test]
fn a_refused_change_that_was_carried_out_by_another_sending_is_refused_no_longer() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    page.act(|client| client.failed(id, ApiError::new(Kind::Conflict, "no")));
    assert_eq!(page.client.outbox().len(), 1);
    let passed = vec![Passed { mutation_id: id, xid: Xid(11) }];
    page.act(|client| client.ticked(Tick { mutations: passed, ..tick("12:12:", &[(1, &[11])], &[]) }));
    assert!(page.client.outbox().is_empty(), "it waits for nobody");
    assert_eq!(page.shown(&record(1)), Some(8));
}

// Found by the simulator, seed 1787: each late word of an older value asked for another writing, without an end.
#[test]
fn a_value_is_written_down_once_more_only_once_for_a_change() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(Client::found_outbox);
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("9:9:"))])));
    page.act(Client::connected);
    page.act(|client| client.hydrate(&record(1), Ok(number(5, "10:10:"))));
    let id = page.add(1, 3);
    page.client.answered(id, &[], answer(10, "11:11:", 8));
    let keeps = |page: &mut Page| {
        let effects = page.client.take_effects();
        effects.iter().filter(|effect| matches!(effect, Effect::Keep(_))).count()
    };
    assert!(keeps(&mut page) > 0);
    page.client.was_kept(&record(1), stamp("9:9:"));
    page.client.was_kept(&record(1), stamp("10:10:"));
    assert_eq!(keeps(&mut page), 0, "it is being written");
}

/// A change over record 1 that was made and done, contained in all that there was, and so forgotten.
fn forgotten() -> (Page, MutationId) {
    let mut page = Page::live();
    let id = page.add(1, 3);
    page.act(|client| client.answered(id, &[], Answer { value: None, ..answer(11, "12:12:", 0) }));
    assert_eq!(page.forgotten, [id]);
    (page, id)
}

// Found by the simulator, seed 18989: two tabs ask for a list, by one question that was asked before the change was done; its
// answer came when that was forgotten, and showed the list as it had been.
#[test]
fn a_change_that_was_forgotten_lies_over_what_comes_late_and_lacks_it() {
    let (mut page, id) = forgotten();
    page.act(|client| client.observe(&record(1)));
    page.act(|client| client.offered(&record(1), &Question::default(), Ok(number(5, "10:10:"))));
    assert_eq!(page.shown(&record(1)), Some(8), "it is not in it");
    assert_eq!(page.reasons.last(), Some(&Reason::Own(id)), "so it is read again");
    page.fetches.remove(0);
    page.answer(Ok(number(8, "12:12:")));
    assert_eq!((page.shown(&record(1)), &page.forgotten[..]), (Some(8), &[id, id][..]));
    // What contains it is shown as it is.
    let (mut page, _) = forgotten();
    page.act(|client| client.observe(&record(1)));
    page.act(|client| client.offered(&record(1), &Question::default(), Ok(number(8, "12:12:"))));
    assert_eq!((page.shown(&record(1)), page.fetches.len()), (Some(8), 1));
}

// Found by the simulator, seed 3889: the value was in a page that came to be shown after a change had been done and forgotten.
#[test]
fn a_change_that_was_forgotten_lies_over_what_came_with_the_page_and_lacks_it() {
    let (mut page, _) = forgotten();
    page.act(|client| client.hydrate(&record(1), Ok(number(5, "10:10:"))));
    page.act(|client| client.observe(&record(1)));
    assert_eq!((page.shown(&record(1)), page.fetches.len()), (Some(8), 1));
}

#[test]
fn what_comes_late_and_is_of_another_epoch_than_a_forgotten_change_is_read_anew() {
    let (mut page, id) = forgotten();
    page.act(|client| client.observe(&record(1)));
    page.act(|client| client.offered(&record(1), &Question::default(), Ok(number_after_crash(8, "12:12:"))));
    assert_eq!(page.shown(&record(1)), None, "nobody can tell whether it is in it");
    page.act(|client| {
        client.offered(&record(1), &after(&Question::default(), &[id]), Ok(number_after_crash(8, "12:12:")))
    });
    assert_eq!(page.shown(&record(1)), Some(8));
}

// Found by the simulator, seed 42077: a change was known from the device before the value that came with the page, which contained it.
#[test]
fn what_came_with_the_page_and_may_contain_a_change_is_read_anew() {
    let mut page = Page::live();
    page.act(|client| client.set_sender(false));
    let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
    page.act(|client| client.learn(id, add, Progress::Made, Sending::Perhaps));
    page.act(|client| client.hydrate(&record(1), Ok(number(8, "12:12:"))));
    assert_ne!(page.shown(&record(1)), Some(11), "nobody can tell whether it is in it");
    page.act(|client| client.observe(&record(1)));
    assert_eq!(page.fetches.len(), 0, "the answer of the change brings it");
}

// Found by the simulator, seed 186132: the list was not to be seen and its watch was refused, so no cursor spoke for it.
#[test]
fn a_refused_change_that_was_carried_out_after_all_is_not_pending_for_ever_where_no_cursor_vouches() {
    let mut page = Page::live();
    page.act(|client| client.observe(&list("all")));
    page.answer(Err(not_found("10:12:10")));
    let number = page.client.entries[&list("all")].watch.expect("a watch");
    let id = page.add(1, 3);
    page.act(|client| client.failed(id, ApiError::forbidden("add")));
    let refused = vec![Refused { number, error: ApiError::forbidden("see this") }];
    page.act(|client| client.ticked(Tick { refused, ..tick("12:12:", &[], &[]) }));
    let passed = vec![Passed { mutation_id: id, xid: Xid(10) }];
    page.act(|client| client.ticked(Tick { mutations: passed, ..tick("12:12:", &[], &[]) }));
    page.answer(Err(not_found("12:12:")));
    assert!(!page.client.view(&list("all")).is_pending);
}

#[test]
fn what_may_hold_a_change_that_the_question_did_not_name_is_not_kept() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let found = || Found::from(number(8, "12:12:"));
    let question = Question::default();
    assert!(page.client.is_clear(&record(1), &question, &found()));
    let id = page.add(1, 3);
    assert!(!page.client.is_clear(&record(1), &question, &found()), "it has been sent since");
    assert!(page.client.is_clear(&record(1), &Question { named: vec![id], after: vec![] }, &found()));
    assert!(page.client.is_clear(&record(2), &question, &found()));
}

#[test]
fn what_is_kept_says_which_changes_it_contains() {
    let mut page = Page::live();
    page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    page.act(|client| client.ticked(tick("12:12:", &[(1, &[11])], &[])));
    page.answer(Ok(Read { contains: vec![id], ..number(8, "12:12:") }));
    assert_eq!(page.client.current(&record(1)).map(|read| read.contains), Some(vec![id]));
}

// Found by the simulator, seed 114851: a page read the outbox, in which a change was not done; then it was done and forgotten, and the
// page read a value that contained it.
#[test]
fn what_was_forgotten_on_the_device_since_the_outbox_was_read_is_not_laid_over_a_kept_value() {
    let restored = |outbox: &dyn Fn(MutationId) -> Vec<MutationId>| {
        let mut page = Page::default();
        page.act(Client::await_device);
        page.act(|client| client.set_sender(false));
        let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
        page.act(|client| client.learn(id, add, Progress::Made, Sending::Perhaps));
        page.act(Client::found_outbox);
        page.act(|client| client.ensure(&list("all"), 0));
        let kept = read_of(Arc::new(vec![5_i64]), "10:10:");
        page.act(|client| client.restored(&list("all"), Some(kept), &outbox(id)));
        page.client.view(&list("all")).data.and_then(|data| data.downcast_ref::<Vec<i64>>().cloned())
    };
    assert_eq!(restored(&|_| vec![]), Some(vec![5]), "it is in it, or was never written");
    assert_eq!(restored(&|id| vec![id]), Some(vec![8]), "it is not done, as far as anybody knows");
}

// Found by the simulator, seed 57275: a page kept the value that it came with, and the next one laid the change in it over it.
#[test]
fn a_value_of_which_nobody_can_tell_whether_it_contains_a_change_is_not_kept() {
    let mut page = Page::live();
    page.act(Client::await_device);
    page.show(&record(1), number(8, "12:12:"));
    assert!(page.client.current(&record(1)).is_none(), "a change in the outbox may be in it");
    page.act(Client::found_outbox);
    assert!(page.client.current(&record(1)).is_some());
    page.act(|client| client.set_sender(false));
    let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
    page.act(|client| client.learn(id, add, Progress::Made, Sending::Perhaps));
    assert!(page.client.current(&record(1)).is_none());
    page.answer(Ok(Read { contains: vec![id], ..number(8, "13:13:") }));
    assert_eq!(page.client.current(&record(1)).map(|read| read.contains), Some(vec![id]));
}

// Found by the simulator, seed 112031: the value was written down before the outbox said that the change in it was done.
#[test]
fn a_kept_value_names_what_it_contains_by_its_stamp_too() {
    let mut page = Page::live();
    let one = page.show(&record(1), number(5, "10:10:"));
    let id = page.add(1, 3);
    let passed = vec![Passed { mutation_id: id, xid: Xid(11) }];
    page.act(|client| client.ticked(Tick { mutations: passed, ..tick("12:12:", &[(one, &[])], &[]) }));
    page.answer(Ok(number(8, "12:12:")));
    assert_eq!(page.client.current(&record(1)).map(|read| read.contains), Some(vec![id]));
}

// Found by the simulator, seed 81555: the change had been done before a crash of the database, the kept value was read after it.
#[test]
fn a_change_of_another_epoch_that_is_gone_from_the_outbox_is_not_laid_over_a_kept_value() {
    let mut page = Page::default();
    page.act(Client::await_device);
    let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
    let done = Progress::Done(Xid(11), vec![stamp("12:12:").epoch]);
    page.act(|client| client.learn(id, add, done, Sending::Perhaps));
    page.act(Client::found_outbox);
    page.act(|client| client.observe(&record(1)));
    page.act(|client| client.restored(&record(1), Some(number_after_crash(8, "13:13:")), &[]));
    assert_eq!(page.shown(&record(1)), Some(8));
}

// Found by the simulator, seed 12513: a leader that did not know of the refusal sent it again, and could not reach the server.
#[test]
fn what_was_refused_stays_so_where_another_sending_of_it_fails_in_passing() {
    for outcome in [Outcome::Failed(ApiError::new(Kind::Unreachable, "cut")), Outcome::NotBegun] {
        let mut page = Page::live();
        page.show(&record(1), number(5, "10:10:"));
        let id = page.add(1, 3);
        page.act(|client| client.failed(id, ApiError::new(Kind::Conflict, "no")));
        page.act(|client| client.heard(vec![(id, outcome)]));
        assert_eq!(page.shown(&record(1)), Some(5));
        assert!(matches!(page.client.outbox()[0].state, WaitingState::Refused(_)));
    }
}

// Found by the simulator, seed 16069: the leader read late what the device keeps, and wiped with it what had been made since; another tab
// waited for its answer for ever.
#[test]
fn what_is_found_late_of_an_organization_that_was_left_does_not_wipe_what_was_made_since() {
    let mut page = Page::default();
    page.act(Client::await_device);
    page.act(|client| client.belongs_to(&[]));
    page.act(Client::found_outbox);
    let id = page.add(1, 3);
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("9:9:"))])));
    assert!(page.client.mutation(id).is_some(), "the server says what comes of it");
    page.act(|client| client.observe(&record(1)));
    assert!(!page.other.contains(&Effect::Restore { key: record(1) }), "what was kept is not shown");
}

// Found by the simulator, seed 8017: a page began, and heard of a change that was done before it knew what the device keeps.
#[test]
fn a_change_that_is_done_is_not_forgotten_before_it_is_known_what_lacks_it_on_the_device() {
    let mut page = Page::default();
    page.act(Client::await_device);
    let (id, add) = (MutationId::fresh(), Arc::new(Add { id: thing(1), amount: 3 }));
    let done = Progress::Done(Xid(11), vec![stamp("12:12:").epoch]);
    page.act(|client| client.learn(id, add, done, Sending::Perhaps));
    page.act(|client| client.observe(&record(1)));
    page.act(Client::found_outbox);
    page.act(|client| client.found_kept(HashMap::from([(record(1), stamp("10:10:"))])));
    page.act(|client| client.restored(&record(1), Some(number(5, "10:10:")), &[]));
    assert_eq!(page.shown(&record(1)), Some(8));
    assert!(page.forgotten.is_empty());
    // Where nothing lacks it, it is forgotten.
    let mut page = Page::default();
    page.act(Client::await_device);
    let add = Arc::new(Add { id: thing(1), amount: 3 });
    let done = Progress::Done(Xid(11), vec![stamp("12:12:").epoch]);
    page.act(|client| client.learn(id, add, done, Sending::Perhaps));
    page.act(Client::found_outbox);
    page.act(|client| client.found_kept(HashMap::new()));
    assert_eq!(page.forgotten, [id]);
}
