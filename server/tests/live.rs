//! `GET /live` over a raw WebSocket: who may watch what, that every change is told to whom it concerns and to nobody
//! else, and that rights are cut at once.

#![allow(clippy::unwrap_used)]

mod support;

use app::customers::Customers;
use app::orders::{OrderParameters, Orders, Sort};
use app::projects::{ProjectParameters, Projects};
use app::tenancy::Members;
use millstream::key::{OrganizationId, WireKey};
use millstream::live::{ListQuery, NoParameters};
use millstream::pages::PageOf;
use millstream::snapshot::Xid;
use millstream::wire::{ClientFrame, Passed, ServerFrame, Standing, Watch};
use millstream::{Kind, MutationId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::scene::Scene;
use support::socket::{Heard, Socket, list, record, refusal, request};
use support::world::{World, start_over};
use support::{chance, until};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use uuid::Uuid;

fn rename(order: Uuid) -> String {
    format!("update sales_orders set title = 'Renamed {}' where id = '{order}'", Uuid::new_v4().simple())
}

fn newest() -> Value {
    json!({"sort": "newest"})
}

fn xids(of: &[Xid]) -> BTreeSet<Xid> {
    of.iter().copied().collect()
}

fn standings(heard: &Heard) -> Vec<(Uuid, Standing)> {
    heard.rights.iter().map(|rights| (rights.organization.0, rights.standing)).collect()
}

/// Connections, and keys that they watch.
fn load(world: &World) -> (usize, usize) {
    let load = world.server.hub.load();
    (load.connections, load.watches)
}

async fn watches(world: &World, wanted: usize) {
    until("the number of watches", async || (world.server.hub.load().watches == wanted).then_some(())).await;
}

// ---------------------------------------------------------------------------------------------- who may connect

/// A watch that is judged before there is a cursor may have missed something, and ends its connection: so nobody is let
/// in before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_has_started_has_a_cursor() {
    let world = World::new().await;
    for _ in 0..5 {
        let another = start_over(&world.server.owner_url).await.unwrap();
        assert!(another.hub.cursor().is_some());
        another.stop().await.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_our_own_pages_with_a_session_and_the_protocol_may_connect() {
    let world = World::new().await;
    let scene = world.scene().await;
    let addr = world.server.addr.to_string();
    let cookie = scene.owner.cookie();
    let told = async |spoil: &dyn Fn(&mut tokio_tungstenite::tungstenite::http::HeaderMap), cookie: Option<&str>| {
        let mut request = request(&addr, cookie);
        spoil(request.headers_mut());
        let (status, body) = refusal(request).await;
        (status, body["error"]["kind"].as_str().unwrap_or_default().to_owned())
    };
    let origin = |value: &'static str| {
        move |headers: &mut tokio_tungstenite::tungstenite::http::HeaderMap| {
            headers.insert("origin", HeaderValue::from_static(value));
        }
    };
    let forbidden = (403, "forbidden".to_owned());
    assert_eq!(told(&origin("https://evil.test"), Some(&cookie)).await, forbidden);
    assert_eq!(told(&origin("http://127.0.0.1:1"), Some(&cookie)).await, forbidden, "another port is another origin");
    assert_eq!(told(&origin("null"), Some(&cookie)).await, forbidden);
    let unauthenticated = (401, "unauthenticated".to_owned());
    assert_eq!(told(&|_| {}, None).await, unauthenticated);
    assert_eq!(told(&|_| {}, Some("millstream=0123456789abcdef")).await, unauthenticated, "a token of nobody");
    let malformed = (400, "malformed".to_owned());
    assert_eq!(
        told(
            &|headers| {
                headers.remove("sec-websocket-protocol");
            },
            Some(&cookie)
        )
        .await,
        malformed
    );
    let another = |headers: &mut tokio_tungstenite::tungstenite::http::HeaderMap| {
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("millstream.v9"));
    };
    assert_eq!(told(&another, Some(&cookie)).await, malformed);
    assert_eq!(load(&world), (0, 0));
    let plain = world.get(Some(&scene.owner), "/live", &[]).await;
    assert_eq!((plain.status, plain.body["error"]["kind"].as_str()), (400, Some("malformed")));
    world.live(&scene.owner).await.assert_goes_on().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_expired_opens_nothing() {
    let world = World::new().await;
    let scene = world.scene().await;
    world.change(&format!("update sessions set expires_at = now() where person_id = '{}'", scene.owner.id)).await;
    let (status, _) = refusal(request(&world.server.addr.to_string(), Some(&scene.owner.cookie()))).await;
    assert_eq!(status, 401);
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- who may watch what

/// Every key of the scene.
fn keys(scene: &Scene, stamp: &millstream::Stamp) -> Vec<millstream::wire::Watch> {
    let organization = scene.organization;
    vec![
        list(1, organization, "sales_orders", newest(), stamp),
        list(2, organization, "sales_orders", json!({"status": "draft", "sort": "due"}), stamp),
        record(3, organization, "sales_orders", scene.order, stamp),
        list(4, organization, "customers", json!({}), stamp),
        list(5, organization, "projects", json!({}), stamp),
        record(6, organization, "projects", scene.project, stamp),
        list(7, organization, "memberships", json!({}), stamp),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_of_another_organization_is_refused_and_hears_nothing_while_a_member_does() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let mut member = world.live(&scene.colleague).await;
    let mut stranger = world.live(&elsewhere.owner).await;
    let stamp = world.stamp().await;
    member.watch_current(keys(&scene, &stamp)).await;
    let refused = stranger.watch(keys(&scene, &stamp)).await;
    assert!(refused.watching.is_empty() && refused.stale.is_empty());
    assert!(refused.refused.values().all(|error| error.kind == Kind::NotFound), "{refused:?}");
    // Their own organization's name over the other's ids is watched, and stays silent: those rows are not in it.
    let mut forged = keys(&scene, &stamp);
    forged.iter_mut().for_each(|watch| watch.key.organization = OrganizationId(elsewhere.organization));
    let forged = stranger.watch(forged).await;
    assert!(forged.stale.is_empty(), "{forged:?}");
    assert_eq!(world.server.hub.load().connections, 2);

    for sql in [
        rename(scene.order),
        format!("update customers set name = 'Other' where id = '{}'", scene.customer),
        format!("update projects set name = 'Other' where id = '{}'", scene.project),
        format!("delete from project_members where id = '{}'", scene.project_member),
        format!(
            "insert into sales_order_lines (id, order_id, position, description, quantity) values (gen_random_uuid(), '{}', 2, 'L', 1)",
            scene.order
        ),
        format!("update memberships set role = 'operator' where person_id = '{}'", scene.other.id),
        format!("delete from sales_orders where id = '{}'", scene.order),
    ] {
        world.change(&sql).await;
    }
    let heard = stranger.until_seen(world.fence(&elsewhere.owner).await).await;
    assert!(heard.stale.is_empty() && heard.rights.is_empty(), "{heard:?}");
    let heard = member.until_seen(world.fence(&scene.colleague).await).await;
    assert_eq!(heard.stale_numbers(), [1, 2, 3, 4, 5, 6, 7]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_watched_is_refused_by_its_number_and_the_rest_is_watched() {
    let world = World::new().await;
    let scene = world.scene().await;
    let organization = scene.organization;
    let mut socket = world.live(&scene.owner).await;
    let stamp = world.stamp().await;
    let mut both = record(9, organization, "sales_orders", scene.order, &stamp);
    both.key.list = Some(newest());
    let mut neither = record(10, organization, "sales_orders", scene.order, &stamp);
    neither.key.record = None;
    let heard = socket
        .watch(vec![
            record(1, organization, "sales_order", scene.order, &stamp),
            record(2, organization, "profiles", scene.owner.id, &stamp),
            record(3, organization, "sales_orders; drop table customers", scene.order, &stamp),
            list(4, organization, "sales_orders", json!({"colour": "red", "sort": "newest"}), &stamp),
            list(5, organization, "sales_orders", json!({"status": "lost", "sort": "newest"}), &stamp),
            list(6, organization, "sales_orders", json!({"sort": "best"}), &stamp),
            list(7, organization, "customers", json!({"name": "A"}), &stamp),
            record(8, organization, "customers", scene.customer, &stamp),
            both,
            neither,
            record(11, Uuid::now_v7(), "sales_orders", scene.order, &stamp),
            record(12, organization, "sales_orders", scene.order, &stamp),
            list(12, organization, "sales_orders", newest(), &stamp),
        ])
        .await;
    let counted = world.server.hub.counters().refusals.load(Ordering::Relaxed);
    assert_eq!(counted, heard.refused.len() as u64);
    let kinds: Vec<_> = heard.refused.iter().map(|(number, error)| (*number, error.kind)).collect();
    use Kind::{Invalid, Malformed, NotFound};
    let mut expected: Vec<_> =
        [Invalid, Invalid, Invalid, Malformed, Malformed, Malformed, Malformed, Invalid, Invalid, Invalid, NotFound]
            .into_iter()
            .zip(1..)
            .map(|(kind, number)| (number, kind))
            .collect();
    expected.push((12, Invalid));
    assert_eq!(kinds, expected);
    assert!(
        heard.refused[&1].message.contains("sales_order") && heard.refused[&4].message.contains("colour"),
        "{heard:?}"
    );
    let answer =
        if heard.watching.contains(&12) { heard } else { socket.listen(|heard| heard.watching.contains(&12)).await };
    assert!(answer.watching.contains(&12), "the first of a number taken twice is watched");
    watches(&world, 1).await;
    let xid = world.change(&rename(scene.order)).await;
    assert_eq!(socket.until_stale(12).await.stale[&12], xids(&[xid]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_cannot_be_read_is_answered_and_the_connection_goes_on() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.owner).await;
    let stamp = world.stamp().await;
    socket.watch_current(vec![record(1, scene.organization, "sales_orders", scene.order, &stamp)]).await;
    for text in [
        "",
        "{",
        "null",
        "[]",
        "{\"type\":\"drop\"}",
        "{\"type\":\"watch\"}",
        "{\"type\":\"unwatch\",\"numbers\":[-1]}",
        "{\"type\":\"watch\",\"keys\":[{\"number\":1}]}",
        "{\"type\":\"ping\",\"at\":\"now\"}",
    ] {
        socket.send_text(text.to_owned()).await;
        let heard = socket.listen(|heard| !heard.errors.is_empty()).await;
        assert_eq!(heard.errors[0].kind, Kind::Malformed, "{text}");
    }
    socket.send_bytes(vec![0, 159, 146, 150]).await;
    assert_eq!(socket.listen(|heard| !heard.errors.is_empty()).await.errors[0].kind, Kind::Malformed);
    socket.assert_goes_on().await;
    let xid = world.change(&rename(scene.order)).await;
    assert_eq!(socket.until_stale(1).await.stale[&1], xids(&[xid]));
    world.stop().await;
}

/// Says the list's key as the client writes it, whatever its parameters are.
fn as_written<L: ListQuery>(
    number: u32,
    organization: Uuid,
    parameters: &L::Parameters,
    stamp: &millstream::Stamp,
) -> Watch {
    let key = WireKey::from(&L::list_key(OrganizationId(organization), parameters));
    Watch { number, key, snapshot: stamp.snapshot.clone(), epoch: stamp.epoch }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_of_the_product_can_be_watched_as_the_client_writes_it() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (organization, stamp) = (scene.organization, world.stamp().await);
    let orders =
        OrderParameters { status: None, customer_id: None, sort: Sort::Updated, page: PageOf::After("x".to_owned()) };
    let mut socket = world.live(&scene.owner).await;
    let watched = vec![
        as_written::<Orders>(1, organization, &orders, &stamp),
        as_written::<Customers>(2, organization, &NoParameters::default(), &stamp),
        as_written::<Projects>(3, organization, &ProjectParameters::default(), &stamp),
        as_written::<Projects>(4, organization, &ProjectParameters { archived: true }, &stamp),
        as_written::<Members>(5, organization, &NoParameters::default(), &stamp),
    ];
    socket.watch_current(watched).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_see_a_module_may_not_watch_it() {
    let world = World::new().await;
    let scene = world.scene().await;
    let supplier = world.member(scene.organization, "Sue", "supplier").await;
    let buyer = world.person("Bob").await;
    world.join(scene.organization, &buyer, "buyer", Some(scene.customer)).await;
    let stamp = world.stamp().await;
    for (person, allowed) in [(&supplier, vec![]), (&buyer, vec![1, 2, 3, 4])] {
        let mut socket = world.live(person).await;
        let heard = socket.watch(keys(&scene, &stamp)).await;
        assert_eq!(heard.watching.iter().copied().collect::<Vec<_>>(), allowed, "{}", person.name);
        assert!(heard.refused.values().all(|error| error.kind == Kind::Forbidden), "{heard:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_hears_of_its_customers_orders_and_of_no_others() {
    let world = World::new().await;
    let scene = world.scene().await;
    let organization = scene.organization;
    let mine = world.customer(organization).await;
    let my_order = world.order(organization, mine).await;
    let buyer = world.person("Bob").await;
    world.join(organization, &buyer, "buyer", Some(mine)).await;
    let mut socket = world.live(&buyer).await;
    let stamp = world.stamp().await;
    let heard = socket
        .watch(vec![
            list(1, organization, "sales_orders", newest(), &stamp),
            record(2, organization, "sales_orders", my_order, &stamp),
            record(3, organization, "sales_orders", scene.order, &stamp),
            record(4, organization, "sales_orders", Uuid::now_v7(), &stamp),
            list(5, organization, "customers", json!({}), &stamp),
            list(6, organization, "sales_orders", json!({"customer_id": scene.customer, "sort": "newest"}), &stamp),
        ])
        .await;
    for hidden in [3, 4] {
        assert_eq!(heard.refused[&hidden].kind, Kind::NotFound, "as if it did not exist");
    }
    assert_eq!(heard.refused.len(), 2);

    for sql in [
        rename(scene.order),
        format!("update customers set name = 'Theirs' where id = '{}'", scene.customer),
        format!("delete from sales_orders where id = '{}'", scene.other_order),
        format!(
            "insert into sales_orders (id, organization_id, customer_id, title) values (gen_random_uuid(), '{organization}', '{}', 'T')",
            scene.customer
        ),
    ] {
        world.change(&sql).await;
    }
    let heard = socket.until_seen(world.fence(&buyer).await).await;
    assert!(heard.stale.is_empty(), "{heard:?}");
    // Watching anew with an old stamp: what was missed of others' orders is not told either.
    let again = socket.watch(vec![list(11, organization, "sales_orders", newest(), &stamp)]).await;
    assert!(again.stale.is_empty(), "{again:?}");

    let own = world.change(&rename(my_order)).await;
    let heard = socket.until_seen(world.fence(&buyer).await).await;
    assert_eq!(heard.stale_numbers(), [1, 2, 11]);
    assert_eq!(heard.stale[&1], xids(&[own]));
    // An order that comes to the customer, and one that leaves it.
    let comes =
        world.change(&format!("update sales_orders set customer_id = '{mine}' where id = '{}'", scene.order)).await;
    let goes = world
        .change(&format!("update sales_orders set customer_id = '{}' where id = '{my_order}'", scene.customer))
        .await;
    let heard = socket.until_seen(world.fence(&buyer).await).await;
    assert_eq!(heard.stale[&1], xids(&[comes, goes]));
    assert_eq!(heard.stale[&2], xids(&[goes]));
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- rights that change

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_members_sockets_fall_silent_while_a_remaining_members_goes_on() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (organization, removed, remaining) = (scene.organization, &scene.other, &scene.colleague);
    let elsewhere = world.organization("Elsewhere").await;
    world.join(elsewhere, removed, "owner", None).await;
    let customer = world.customer(elsewhere).await;
    let mut sockets = [world.live(removed).await, world.live(removed).await];
    let mut witness = world.live(remaining).await;
    let stamp = world.stamp().await;
    for socket in &mut sockets {
        let mut all = keys(&scene, &stamp);
        all.push(list(20, elsewhere, "customers", json!({}), &stamp));
        socket.watch_current(all).await;
    }
    witness.watch_current(keys(&scene, &stamp)).await;

    world
        .change(&format!(
            "delete from memberships where organization_id = '{organization}' and person_id = '{}'",
            removed.id
        ))
        .await;
    let committed = Instant::now();
    let told = (organization, Standing::Removed);
    for socket in &mut sockets {
        let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
        assert_eq!(standings(&heard), [told]);
        assert!(
            heard.stale.is_empty(),
            "nothing of the organization passes before the word that it is over: {heard:?}"
        );
    }
    let took = committed.elapsed();
    println!("from the removal's commit to the frame on both sockets: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    watches(&world, 7 + 2).await;

    world.change(&rename(scene.order)).await;
    world.change(&format!("update projects set name = 'Other' where id = '{}'", scene.project)).await;
    let other = world.change(&format!("update customers set name = 'Own' where id = '{customer}'")).await;
    let fence = world.fence(removed).await;
    for socket in &mut sockets {
        let heard = socket.until_seen(fence).await;
        assert_eq!(heard.stale_numbers(), [20], "its other organization goes on");
        assert_eq!(heard.stale[&20], xids(&[other]));
        let refused = socket.watch(keys(&scene, &stamp)).await;
        assert!(refused.watching.is_empty() && refused.refused.values().all(|error| error.kind == Kind::NotFound));
    }
    let heard = witness.until_seen(world.fence(remaining).await).await;
    assert_eq!(heard.stale_numbers(), [1, 2, 3, 5, 6, 7]);
    assert!(heard.rights.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_cuts_what_the_same_transaction_changed_too() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.other).await;
    let stamp = world.stamp().await;
    socket.watch_current(keys(&scene, &stamp)).await;
    world
        .change(&format!(
            "{}; delete from memberships where organization_id = '{}' and person_id = '{}'",
            rename(scene.order),
            scene.organization,
            scene.other.id
        ))
        .await;
    let heard = socket.until_seen(world.fence(&scene.other).await).await;
    assert!(heard.stale.is_empty(), "{heard:?}");
    assert_eq!(heard.rights.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_role_ends_the_persons_watches_and_says_so() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.other).await;
    let mut witness = world.live(&scene.colleague).await;
    let stamp = world.stamp().await;
    socket.watch_current(keys(&scene, &stamp)).await;
    witness.watch_current(vec![list(1, scene.organization, "sales_orders", newest(), &stamp)]).await;
    let xid =
        world.change(&format!("update memberships set role = 'supplier' where person_id = '{}'", scene.other.id)).await;
    let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
    assert_eq!(heard.rights[0].by.as_ref().map(|by| by.xids.clone()), Some(vec![xid]));
    assert_eq!(standings(&heard), [(scene.organization, Standing::Narrowed)]);
    watches(&world, 1).await;
    // What is watched anew is watched by the new role.
    let stamp = world.stamp().await;
    let again = socket.watch(keys(&scene, &stamp)).await;
    assert!(again.watching.is_empty());
    world.change(&format!("update memberships set role = 'sales' where person_id = '{}'", scene.other.id)).await;
    let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
    assert_eq!(standings(&heard), [(scene.organization, Standing::Changed)], "it sees more than before");
    socket.watch_current(keys(&scene, &world.stamp().await)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_is_bound_to_another_customer_is_told_that_they_see_less() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (other, buyer) = (world.customer(scene.organization).await, world.person("Bo").await);
    world.join(scene.organization, &buyer, "buyer", Some(scene.customer)).await;
    let mut socket = world.live(&buyer).await;
    let stamp = world.stamp().await;
    socket.watch_current(vec![record(1, scene.organization, "sales_orders", scene.order, &stamp)]).await;
    world.change(&format!("update memberships set customer_id = '{other}' where person_id = '{}'", buyer.id)).await;
    let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
    assert_eq!(standings(&heard), [(scene.organization, Standing::Narrowed)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_membership_reaches_the_person_before_anything_of_it_is_watched() {
    let world = World::new().await;
    let scene = world.scene().await;
    let person = world.person("Nina").await;
    let mut socket = world.live(&person).await;
    world.join(scene.organization, &person, "viewer", None).await;
    let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
    assert_eq!(standings(&heard), [(scene.organization, Standing::Changed)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_role_catalogue_ends_everybodys_watches() {
    let world = World::new().await;
    let (one, two) = (world.scene().await, world.scene().await);
    let mut sockets = [world.live(&one.other).await, world.live(&two.other).await];
    let stamp = world.stamp().await;
    sockets[0].watch_current(keys(&one, &stamp)).await;
    sockets[1].watch_current(keys(&two, &stamp)).await;
    world.change("update role_permissions set can_view = false where role = 'viewer' and module = 'sales'").await;
    for (socket, scene) in sockets.iter_mut().zip([&one, &two]) {
        let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
        assert_eq!(standings(&heard), [(scene.organization, Standing::Narrowed)]);
        let again = socket.watch(keys(scene, &world.stamp().await)).await;
        assert_eq!(again.refused.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    }
    world.change("update role_permissions set can_view = true where role = 'viewer' and module = 'sales'").await;
    for (socket, scene) in sockets.iter_mut().zip([&one, &two]) {
        let heard = socket.listen(|heard| !heard.rights.is_empty()).await;
        assert_eq!(standings(&heard), [(scene.organization, Standing::Changed)]);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_out_closes_the_sockets_of_that_session_and_of_no_other() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut same = scene.owner.clone();
    same.token = world.session(scene.owner.id).await;
    let mut closed = [world.live(&scene.owner).await, world.live(&scene.owner).await];
    let mut open = world.live(&same).await;
    assert_eq!(world.post(Some(&scene.owner), "/api/session/sign_out", &json!({})).await.status, 200);
    for socket in &mut closed {
        assert_eq!(socket.closed().await, Some(4401));
    }
    until("the connections to be gone", async || (world.server.hub.load().connections == 1).then_some(())).await;
    open.watch_current(keys(&scene, &world.stamp().await)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_sends_its_connections_elsewhere() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.owner).await;
    let (code, ()) = tokio::join!(socket.closed(), world.stop());
    assert_eq!(code, Some(1001));
}

// ---------------------------------------------------------------------------------------------- what is told

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_records_the_changed_one_is_named_and_only_the_lists_that_can_hold_it() {
    let world = World::new().await;
    let scene = world.scene().await;
    let organization = scene.organization;
    let mut orders = Vec::new();
    for _ in 0..50 {
        orders.push(world.order(organization, scene.customer).await);
    }
    let elsewhere = world.customer(organization).await;
    let stamp = world.stamp().await;
    let mut watched: Vec<_> = orders
        .iter()
        .zip(100..)
        .map(|(order, number)| record(number, organization, "sales_orders", *order, &stamp))
        .collect();
    let lists = [
        (1, newest()),
        (2, json!({"status": "draft", "sort": "newest"})),
        (3, json!({"status": "released", "sort": "newest"})),
        (4, json!({"status": "shipped", "sort": "newest"})),
        (5, json!({"customer_id": scene.customer, "sort": "due"})),
        (6, json!({"customer_id": elsewhere, "sort": "due"})),
        (7, json!({"customer_id": scene.customer, "status": "draft", "sort": "updated"})),
        (8, json!({"customer_id": elsewhere, "status": "draft", "sort": "updated"})),
        (9, json!({"customer_id": elsewhere, "status": "released", "sort": "updated"})),
    ];
    watched.extend(
        lists.into_iter().map(|(number, parameters)| list(number, organization, "sales_orders", parameters, &stamp)),
    );
    watched.push(list(10, organization, "customers", json!({}), &stamp));
    watched.push(list(11, organization, "memberships", json!({}), &stamp));
    let mut socket = world.live(&scene.owner).await;
    socket.watch_current(watched).await;

    let order = orders[17];
    let cases: [(String, &[u32]); 7] = [
        (rename(order), &[1, 2, 5, 7, 117]),
        (format!("update sales_orders set status = 'released' where id = '{order}'"), &[1, 2, 3, 5, 7, 117]),
        (rename(order), &[1, 3, 5, 117]),
        (format!("update sales_orders set customer_id = '{elsewhere}' where id = '{order}'"), &[1, 3, 5, 6, 9, 117]),
        (
            format!(
                "insert into sales_order_lines (id, order_id, position, description, quantity) values (gen_random_uuid(), '{order}', 1, 'L', 1)"
            ),
            &[117],
        ),
        (format!("delete from sales_orders where id = '{order}'"), &[1, 3, 6, 9, 117]),
        (format!("update memberships set role = 'operator' where person_id = '{}'", scene.other.id), &[11]),
    ];
    for (sql, named) in cases {
        let xid = world.change(&sql).await;
        let heard = socket.until_seen(world.fence(&scene.owner).await).await;
        assert_eq!(heard.stale_numbers(), named, "{sql}");
        assert!(heard.stale.values().all(|told| *told == xids(&[xid])), "{sql}: {heard:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_junction_without_an_organization_reaches_the_project_and_its_list() {
    let world = World::new().await;
    let scene = world.scene().await;
    let other = world.project(scene.organization).await;
    let mut socket = world.live(&scene.owner).await;
    let stamp = world.stamp().await;
    let watched = vec![
        list(1, scene.organization, "projects", json!({}), &stamp),
        record(2, scene.organization, "projects", scene.project, &stamp),
        record(3, scene.organization, "projects", other, &stamp),
        record(4, scene.organization, "sales_orders", scene.order, &stamp),
    ];
    socket.watch_current(watched).await;
    for sql in [
        format!(
            "insert into project_members (id, project_id, person_id) values (gen_random_uuid(), '{}', '{}')",
            scene.project, scene.owner.id
        ),
        format!("delete from project_orders where id = '{}'", scene.project_order),
        format!("delete from projects where id = '{}'", scene.project),
    ] {
        world.change(&sql).await;
        let heard = socket.until_seen(world.fence(&scene.owner).await).await;
        assert_eq!(heard.stale_numbers(), [1, 2], "{sql}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_of_a_person_is_told_and_what_is_given_back_is_not() {
    let world = World::new().await;
    let scene = world.scene().await;
    let stamp = world.stamp().await;
    let mut first = world.live(&scene.owner).await;
    let mut second = world.live(&scene.owner).await;
    first
        .watch_current(vec![
            record(1, scene.organization, "sales_orders", scene.order, &stamp),
            list(2, scene.organization, "sales_orders", newest(), &stamp),
        ])
        .await;
    second.watch_current(vec![record(7, scene.organization, "sales_orders", scene.order, &stamp)]).await;
    assert_eq!(load(&world), (2, 3));
    let xid = world.change(&rename(scene.order)).await;
    let fence = world.fence(&scene.owner).await;
    assert_eq!(first.until_seen(fence).await.stale_numbers(), [1, 2]);
    assert_eq!(second.until_seen(fence).await.stale[&7], xids(&[xid]));

    first.send(&ClientFrame::Unwatch { numbers: vec![2, 99] }).await;
    watches(&world, 2).await;
    first.send(&ClientFrame::Unwatch { numbers: vec![1] }).await;
    second.send(&ClientFrame::Unwatch { numbers: vec![7] }).await;
    watches(&world, 0).await;
    world.change(&rename(scene.order)).await;
    let fence = world.fence(&scene.owner).await;
    assert!(first.until_seen(fence).await.stale.is_empty());
    assert!(second.until_seen(fence).await.stale.is_empty());
    // The number is free again, and a connection that goes takes its watches along.
    first.watch_current(vec![record(1, scene.organization, "sales_orders", scene.order, &world.stamp().await)]).await;
    assert_eq!(load(&world), (2, 1));
    drop(first);
    until("the watches to go with their connection", async || (load(&world) == (1, 0)).then_some(())).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_own_mutation_is_told_to_its_connections_by_id_and_to_nobody_elses() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut mine = [world.live(&scene.owner).await, world.live(&scene.owner).await];
    let mut theirs = world.live(&scene.colleague).await;
    let mutation = Uuid::now_v7();
    let request =
        json!({"organization": scene.organization, "mutation_id": mutation, "id": Uuid::now_v7(), "name": "Plan"});
    let answer = world.post(Some(&scene.owner), "/api/projects/create", &request).await.ok();
    let xid = support::world::xid_of(&answer);
    let fence = world.fence(&scene.colleague).await;
    for socket in &mut mine {
        let heard =
            socket.listen(|heard| heard.last_tick.as_ref().is_some_and(|tick| !tick.mutations.is_empty())).await;
        let tick = heard.last_tick.unwrap();
        assert_eq!(tick.mutations, [Passed { mutation_id: MutationId(mutation), xid }]);
        assert!(tick.cursor.sees(xid));
    }
    let heard = theirs.until_seen(fence).await;
    assert!(heard.last_tick.unwrap().mutations.iter().all(|passed| passed.xid == fence));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_row_is_told_to_its_audience_alone() {
    let world = World::new().await;
    let scene = world.scene().await;
    // Orders that only some may hear of; the table is the product's own, the column the test's.
    world
        .change(
            "alter table customers add column readers uuid[] not null default '{}';
             update millstream.live_tables set audience_column = 'readers' where table_name = 'customers';
             select millstream.refresh_live_tables()",
        )
        .await;
    let mut inside = world.live(&scene.owner).await;
    let mut outside = world.live(&scene.colleague).await;
    let stamp = world.stamp().await;
    inside.watch_current(vec![list(1, scene.organization, "customers", json!({}), &stamp)]).await;
    outside.watch_current(vec![list(1, scene.organization, "customers", json!({}), &stamp)]).await;
    let private = world
        .change(&format!(
            "insert into customers (id, organization_id, name, readers) values (gen_random_uuid(), '{}', 'Secret', array['{}']::uuid[])",
            scene.organization, scene.owner.id
        ))
        .await;
    assert_eq!(inside.until_seen(world.fence(&scene.owner).await).await.stale[&1], xids(&[private]));
    assert!(outside.until_seen(world.fence(&scene.colleague).await).await.stale.is_empty());
    let heard = outside.watch(vec![list(2, scene.organization, "customers", json!({}), &stamp)]).await;
    assert!(heard.stale.is_empty(), "nor by watching anew with an old stamp: {heard:?}");
    // To whom it is opened, it is told; from whom it is taken, too.
    let opened = world
        .change(&format!(
            "update customers set readers = array['{}']::uuid[] where name = 'Secret'",
            scene.colleague.id
        ))
        .await;
    assert_eq!(inside.until_seen(world.fence(&scene.owner).await).await.stale[&1], xids(&[opened]));
    assert_eq!(outside.until_seen(world.fence(&scene.colleague).await).await.stale[&1], xids(&[opened]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_row_that_nobody_may_read_is_told_to_nobody() {
    let world = World::new().await;
    let scene = world.scene().await;
    world
        .change(
            "alter table customers add column readers uuid[] not null default '{}';
             update millstream.live_tables set audience_column = 'readers' where table_name = 'customers';
             select millstream.refresh_live_tables()",
        )
        .await;
    let mut socket = world.live(&scene.owner).await;
    socket.watch_current(vec![list(1, scene.organization, "customers", json!({}), &world.stamp().await)]).await;
    world
        .change(&format!(
            "insert into customers (id, organization_id, name, readers) values (gen_random_uuid(), '{}', 'Secret', '{{}}')",
            scene.organization
        ))
        .await;
    let heard = socket.until_seen(world.fence(&scene.owner).await).await;
    assert!(heard.stale.is_empty(), "{heard:?}");
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- without a race

const ROUNDS: u32 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_any_moment_around_a_watch_is_told() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket: Socket = world.live(&scene.owner).await;
    let mut chance = chance();
    let (mut at_once, mut later) = (0, 0);
    for round in 1..=ROUNDS {
        // Sometimes the hub is behind the stamp, and may yet name what the value has seen: that is no harm.
        if chance.bool() {
            world.change(&rename(scene.order)).await;
        }
        let stamp = world.stamp_ahead().await;
        let change_after = if chance.bool() { chance.u64(0..10_000) } else { chance.u64(0..120_000) };
        let watch_after = chance.u64(0..10_000);
        let keys = if round % 2 == 0 {
            vec![record(round, scene.organization, "sales_orders", scene.order, &stamp)]
        } else {
            vec![list(
                round,
                scene.organization,
                "sales_orders",
                json!({"customer_id": scene.customer, "sort": "newest"}),
                &stamp,
            )]
        };
        let (xid, answer) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_micros(change_after)).await;
                world.change(&rename(scene.order)).await
            },
            async {
                tokio::time::sleep(Duration::from_micros(watch_after)).await;
                socket.watch(keys).await
            },
        );
        assert!(answer.watching.contains(&round), "{answer:?}");
        let is_told = |heard: &Heard| heard.stale.get(&round).is_some_and(|told| told.contains(&xid));
        if is_told(&answer) {
            at_once += 1;
        } else {
            later += 1;
            socket.listen(is_told).await;
        }
        socket.send(&ClientFrame::Unwatch { numbers: vec![round] }).await;
    }
    println!("{at_once} told with the watch's answer, {later} afterwards");
    assert!(at_once > 10 && later > 10, "the moments were not spread");
    watches(&world, 0).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_running_at_the_stamp_is_told_when_it_commits() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut slow = world.owner.begin().await.unwrap();
    sqlx::query("update sales_orders set title = 'Slow' where id = $1")
        .bind(scene.order)
        .execute(&mut *slow)
        .await
        .unwrap();
    let xid = support::world::xid_in(&mut slow).await;
    // Others go on, so that the cursor is far beyond it.
    for _ in 0..5 {
        world.change(&rename(scene.other_order)).await;
    }
    let stamp = world.stamp().await;
    assert!(!stamp.snapshot.sees(xid));
    let mut socket = world.live(&scene.owner).await;
    socket.watch_current(vec![record(1, scene.organization, "sales_orders", scene.order, &stamp)]).await;
    slow.commit().await.unwrap();
    assert_eq!(socket.until_stale(1).await.stale[&1], xids(&[xid]));
    // And with the same old stamp by the watch's own answer.
    let heard = socket.watch(vec![record(2, scene.organization, "sales_orders", scene.order, &stamp)]).await;
    assert_eq!(heard.stale[&2], xids(&[xid]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_of_another_epoch_or_from_before_what_is_kept_is_stale() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.owner).await;
    let now = world.stamp().await;
    let mut foreign = now.clone();
    foreign.epoch = millstream::Epoch(Uuid::now_v7());
    let mut ancient = now.clone();
    ancient.snapshot = "3:3:".parse().unwrap();
    // As if the events of transactions before 4 had been dropped.
    sqlx::query("update millstream.horizon set xid = '4'").execute(&world.owner).await.unwrap();
    let heard = socket
        .watch(vec![
            record(1, scene.organization, "sales_orders", scene.order, &foreign),
            record(2, scene.organization, "sales_orders", scene.order, &ancient),
            record(3, scene.organization, "sales_orders", scene.order, &now),
        ])
        .await;
    assert_eq!(heard.stale_numbers(), [1, 2]);
    assert!(heard.stale.values().all(BTreeSet::is_empty), "until a value covers the cursor: {heard:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_is_told_and_ends_the_connection() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.owner).await;
    socket.send_text("x".repeat(256 * 1024 + 1)).await;
    let mut told = Vec::new();
    let code = loop {
        match socket.next().await {
            Ok(ServerFrame::Error(error)) => told.push(error.kind),
            Ok(_) => {}
            Err(code) => break code,
        }
    };
    assert_eq!((told, code), (vec![Kind::TooLarge], Some(1009)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_beyond_what_is_taken_a_second_are_answered_later_and_none_is_lost() {
    const AT_ONCE: u64 = 500;
    let world = World::new().await;
    let scene = world.scene().await;
    let mut socket = world.live(&scene.owner).await;
    let (mut answered, mut told) = (Vec::new(), 0);
    let begun = Instant::now();
    for at in 0..AT_ONCE + 20 {
        socket.send(&ClientFrame::Ping { at }).await;
    }
    while answered.len() < AT_ONCE as usize + 20 {
        match socket.frame().await {
            ServerFrame::Pong { at } => answered.push(at),
            ServerFrame::Error(error) => {
                assert_eq!(error.kind, Kind::TooMany);
                told += 1;
            }
            _ => {}
        }
    }
    assert!(told > 0, "it is told");
    assert!(answered.into_iter().eq(0..AT_ONCE + 20));
    // Fifty a second.
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
    world.stop().await;
}
