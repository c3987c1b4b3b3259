//! Who is here, and where: told to those whom it concerns and who may see it, on whichever server they are, and gone in time.

#![allow(clippy::unwrap_used)]

mod support;

use millstream::key::{OrganizationId, PersonId};
use millstream::presence::Roster;
use millstream::wire::{ClientFrame, Place, Presence, ServerFrame, Whereabouts};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};
use support::BOUND;
use support::cluster::cluster;
use support::program::Program;
use support::scene::Scene;
use support::socket::Socket;
use support::world::{Person, World, start_over};
use uuid::Uuid;

/// The promise.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Somebody with one page open.
struct Visitor {
    socket: Socket,
    person: PersonId,
    at: Whereabouts,
    roster: Roster,
    /// All that was told, as it came.
    told: Vec<Presence>,
}

impl Visitor {
    async fn enters(addr: &str, person: &Person, organization: Uuid, place: Option<Place>) -> Self {
        let mut visitor = Self {
            socket: Socket::open(addr, person).await,
            person: PersonId(person.id),
            at: Whereabouts { tab: Uuid::nil(), organization: Some(OrganizationId(organization)), place: None, ago: 0 },
            roster: Roster::default(),
            told: Vec::new(),
        };
        visitor.moves_to(place).await;
        visitor
    }

    async fn moves_to(&mut self, place: Option<Place>) {
        self.at.place = place;
        self.socket.send(&ClientFrame::Presence(self.at.clone())).await;
    }

    fn hear(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Presence(told) => {
                self.roster.hear(&told);
                self.told.push(told);
            }
            ServerFrame::Error(error) => panic!("{error}"),
            _ => {}
        }
    }

    /// Says again where it is, as a page does, until the roster is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Roster) -> bool) {
        let mut again = tokio::time::interval(Duration::from_secs(2));
        let deadline = Instant::now() + BOUND;
        while !is_so(&self.roster) {
            assert!(Instant::now() < deadline, "{what}: not within {BOUND:?}; it is {:?}", self.roster);
            tokio::select! {
                frame = self.socket.frame() => self.hear(frame),
                _ = again.tick() => self.socket.send(&ClientFrame::Presence(self.at.clone())).await,
            }
        }
    }

    async fn until_at(&mut self, who: &Visitor, place: Option<Place>) {
        let who = who.person;
        let is_at = |roster: &Roster| roster.people().any(|(person, there)| person == who && there == place.as_ref());
        self.until(&format!("{who} is at {place:?}"), is_at).await;
    }

    async fn until_gone(&mut self, who: PersonId) {
        self.until(&format!("{who} is gone"), |roster| roster.people().all(|(person, _)| person != who)).await;
    }

    /// Whatever was on its way has come.
    async fn catches_up(&mut self) {
        self.socket.send(&ClientFrame::Ping { at: 7 }).await;
        loop {
            match self.socket.frame().await {
                ServerFrame::Pong { .. } => return,
                frame => self.hear(frame),
            }
        }
    }
}

fn list(table: &str) -> Option<Place> {
    Some(Place { table: table.to_owned(), record: None, field: None, is_typing: false })
}

fn record(table: &str, record: Uuid) -> Option<Place> {
    Some(Place { table: table.to_owned(), record: Some(record), field: None, is_typing: false })
}

fn typing(table: &str, record: Uuid, field: &str) -> Option<Place> {
    Some(Place { table: table.to_owned(), record: Some(record), field: Some(field.to_owned()), is_typing: true })
}

async fn world() -> (World, Scene, String) {
    let world = World::new().await;
    let scene = world.scene().await;
    let addr = world.server.addr.to_string();
    world.stamp().await;
    (world, scene, addr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_told_who_is_at_which_record_and_a_record_who_types_in_which_field() {
    let (world, scene, addr) = world().await;
    let its = scene.organization;
    let mut ada = Visitor::enters(&addr, &scene.owner, its, record("sales_orders", scene.order)).await;
    let mut ben = Visitor::enters(&addr, &scene.colleague, its, record("sales_orders", scene.order)).await;
    let mut cleo = Visitor::enters(&addr, &scene.other, its, list("sales_orders")).await;
    ada.until_at(&ben, record("sales_orders", scene.order)).await;
    ben.until_at(&ada, record("sales_orders", scene.order)).await;
    cleo.until_at(&ben, record("sales_orders", scene.order)).await;
    ben.moves_to(typing("sales_orders", scene.order, "title")).await;
    ada.until_at(&ben, typing("sales_orders", scene.order, "title")).await;
    ben.moves_to(record("projects", scene.project)).await;
    ada.until_at(&ben, None).await;
    cleo.until_at(&ben, None).await;
    assert!(
        cleo.told
            .iter()
            .flat_map(|told| &told.here)
            .all(|here| { here.place.as_ref().is_none_or(|place| place.field.is_none() && !place.is_typing) })
    );
    // One person with two pages is at the one that they turned to last.
    let mut second = Visitor::enters(&addr, &scene.colleague, its, record("sales_orders", scene.order)).await;
    ada.until_at(&ben, record("sales_orders", scene.order)).await;
    second.catches_up().await;
    assert!(second.roster.people().all(|(person, _)| person != second.person), "oneself is no other");
    drop(second);
    ada.until_at(&ben, None).await;
    drop(ben);
    ada.until_gone(PersonId(scene.colleague.id)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_are_seen_at_what_they_may_see_and_see_nobody_and_strangers_neither() {
    let (world, scene, addr) = world().await;
    let its = scene.organization;
    let buyer = world.person("Buyer").await;
    world.join(its, &buyer, "buyer", Some(scene.customer)).await;
    let other_customer = world.customer(its).await;
    let hidden = world.order(its, other_customer).await;
    let supplier = world.member(its, "Supplier", "supplier").await;
    let elsewhere = world.scene().await;
    world.stamp().await;

    let order = |id| record("sales_orders", id);
    let mut buyer = Visitor::enters(&addr, &buyer, its, order(scene.order)).await;
    let mut supplier = Visitor::enters(&addr, &supplier, its, order(scene.order)).await;
    let mut stranger = Visitor::enters(&addr, &elsewhere.owner, its, order(scene.order)).await;
    let mut ada = Visitor::enters(&addr, &scene.owner, its, list("sales_orders")).await;
    let mut ben = Visitor::enters(&addr, &scene.colleague, its, order(hidden)).await;
    ada.until_at(&ben, order(hidden)).await;
    ada.until_at(&buyer, order(scene.order)).await;
    // The supplier may see no order: they are here, and nowhere.
    ada.until_at(&supplier, None).await;
    buyer.moves_to(order(hidden)).await;
    ada.until_at(&buyer, None).await;
    ben.until("the others are here", |roster| roster.count() == 3).await;
    ben.moves_to(typing("sales_orders", hidden, "title")).await;
    ben.catches_up().await;
    assert!(ben.told.iter().chain(&ada.told).all(|told| {
        let strange = |person: PersonId| person == stranger.person;
        told.organization == OrganizationId(its) && !told.here.iter().any(|here| strange(here.person))
    }));
    assert_eq!(ben.roster.at("sales_orders", hidden).count(), 0, "the buyer is not at an order of somebody else");
    for visitor in [&mut buyer, &mut supplier, &mut stranger] {
        visitor.catches_up().await;
        assert_eq!(visitor.told, [], "they see nobody");
    }
    // In their own organization the stranger is one of two.
    let mut colleague = Visitor::enters(&addr, &elsewhere.colleague, elsewhere.organization, None).await;
    let mut at_home = Visitor::enters(&addr, &elsewhere.owner, elsewhere.organization, None).await;
    colleague.until_at(&at_home, None).await;
    at_home.until("the colleague alone", |roster| roster.count() == 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_told_to_those_who_may_see_its_table() {
    let (world, scene, addr) = world().await;
    let its = scene.organization;
    world.change("update role_permissions set can_view = false where role = 'viewer' and module = 'projects'").await;
    world.stamp().await;
    let mut ben = Visitor::enters(&addr, &scene.colleague, its, typing("projects", scene.project, "name")).await;
    // They say that they are there too; they may not be.
    let mut cleo = Visitor::enters(&addr, &scene.other, its, record("projects", scene.project)).await;
    cleo.until_at(&ben, None).await;
    ben.until_at(&cleo, None).await;
    let mut ada = Visitor::enters(&addr, &scene.owner, its, list("projects")).await;
    ada.until_at(&ben, record("projects", scene.project)).await;
    cleo.catches_up().await;
    assert!(cleo.told.iter().flat_map(|told| &told.here).all(|here| here.place.is_none()), "{:?}", cleo.told);
    // The rights grow: it is told without another word of theirs.
    world.change("update role_permissions set can_view = true where role = 'viewer' and module = 'projects'").await;
    cleo.until_at(&ben, typing("projects", scene.project, "name")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_or_narrowed_is_told_nothing_more_and_who_is_signed_out_is_gone_at_once() {
    let (world, scene, addr) = world().await;
    let its = scene.organization;
    let order = || record("sales_orders", scene.order);
    let mut ada = Visitor::enters(&addr, &scene.owner, its, order()).await;
    let mut ben = Visitor::enters(&addr, &scene.colleague, its, order()).await;
    let mut cleo = Visitor::enters(&addr, &scene.other, its, order()).await;
    for visitor in [&mut ada, &mut ben, &mut cleo] {
        visitor.until("two others", |roster| roster.count() == 2).await;
    }
    world.change(&format!("delete from memberships where person_id = '{}'", scene.colleague.id)).await;
    ben.until("nobody is told", Roster::is_empty).await;
    let began = Instant::now();
    ada.until_gone(ben.person).await;
    assert!(began.elapsed() < Duration::from_secs(5), "not as one who went silent");

    world
        .change(&format!(
            "update memberships set role = 'buyer', customer_id = '{}' where person_id = '{}'",
            scene.customer, scene.other.id
        ))
        .await;
    cleo.until("nobody is told", Roster::is_empty).await;
    // They may still see the order, and be seen there.
    ada.until("the buyer is back", |roster| roster.at("sales_orders", scene.order).count() == 1).await;
    let told = cleo.told.len();
    ada.moves_to(typing("sales_orders", scene.order, "title")).await;
    ada.catches_up().await;
    cleo.catches_up().await;
    assert_eq!(cleo.told.len(), told);

    let began = Instant::now();
    world.change(&format!("delete from sessions where person_id = '{}'", scene.other.id)).await;
    ada.until("nobody is left", Roster::is_empty).await;
    assert!(began.elapsed() < Duration::from_secs(5), "not as one who went silent");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_any_more_is_gone_in_ten_seconds_though_the_connection_stands() {
    let (world, scene, addr) = world().await;
    let mut ada = Visitor::enters(&addr, &scene.owner, scene.organization, None).await;
    let ben = Visitor::enters(&addr, &scene.colleague, scene.organization, None).await;
    let last_word = Instant::now();
    ada.until_at(&ben, None).await;
    ada.until_gone(ben.person).await;
    let gone = last_word.elapsed();
    assert!((Duration::from_secs(7)..GONE_WITHIN).contains(&gone), "{gone:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_is_answered_by_name_and_the_connection_goes_on() {
    let (world, scene, _) = world().await;
    let mut socket = world.live(&scene.owner).await;
    let at = |place: serde_json::Value, tab: Uuid| {
        json!({"type": "presence", "tab": tab, "organization": scene.organization, "place": place}).to_string()
    };
    let long = json!({"table": "sales_orders", "record": scene.order, "field": "f".repeat(65)});
    socket.send_text(at(long, Uuid::nil())).await;
    let heard = socket.listen(|heard| !heard.errors.is_empty()).await;
    assert!(heard.errors[0].fields.contains_key("field"), "{:?}", heard.errors);
    for number in 0..17 {
        socket.send_text(at(json!({"table": "sales_orders"}), Uuid::from_u128(number))).await;
    }
    let heard = socket.listen(|heard| !heard.errors.is_empty()).await;
    assert_eq!(heard.errors[0].kind, millstream::Kind::TooMany);
    socket.assert_goes_on().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_at_another_server_are_seen_and_gone_in_ten_seconds_when_it_is_killed() {
    let url = cluster().await.database().await;
    let world = World::over(start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let its = scene.organization;
    let mut other = Program::start_over(&url);
    world.stamp().await;
    let order = || record("sales_orders", scene.order);
    let mut ada = Visitor::enters(&world.server.addr.to_string(), &scene.owner, its, order()).await;
    let mut ben = Visitor::enters(&other.addr, &scene.colleague, its, order()).await;
    ada.until_at(&ben, order()).await;
    ben.until_at(&ada, order()).await;
    ben.moves_to(typing("sales_orders", scene.order, "title")).await;
    ada.until_at(&ben, typing("sales_orders", scene.order, "title")).await;
    // Here, who moves from one server to the other does not blink, and is one.
    let mut cleo = Visitor::enters(&other.addr, &scene.other, its, None).await;
    ada.until_at(&cleo, None).await;
    let told = ada.told.len();
    let mut moved = Visitor::enters(&world.server.addr.to_string(), &scene.other, its, order()).await;
    ada.until_at(&moved, order()).await;
    assert!(ada.told[told..].iter().all(|told| told.left.is_empty()), "{:?}", ada.told);
    cleo.catches_up().await;
    moved.until_at(&ben, typing("sales_orders", scene.order, "title")).await;

    assert_eq!(other.end(Signal::SIGKILL), None);
    let killed = Instant::now();
    ada.until_gone(ben.person).await;
    assert!(killed.elapsed() < GONE_WITHIN, "{:?}", killed.elapsed());
    world.stop().await;
}
