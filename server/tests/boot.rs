//! What stops the start: a database that is not safe to serve, and settings that mean nothing. Each with a sentence that
//! names the cause.

#![allow(clippy::unwrap_used)]

mod support;

use server::{BootError, Running};
use sqlx::PgPool;
use std::process::{Command, Output, Stdio};
use support::cluster::{Room, cluster};
use support::world::{configuration, pool, start_over};
use tokio::sync::RwLock;

/// Roles belong to the cluster, which the tests share: who alters one is alone meanwhile.
static ROLES: RwLock<()> = RwLock::const_new(());

struct Base {
    url: String,
    owner: PgPool,
}

impl Base {
    /// A database in which a server has run.
    async fn new() -> Self {
        let url = cluster().await.database().await;
        start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence())).stop().await.unwrap();
        Self { owner: pool(&url).await, url }
    }

    async fn sql(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&self.owner).await.unwrap();
    }

    async fn starts(&self) -> Result<(), String> {
        match start_over(&self.url).await {
            Ok(running) => {
                Running::stop(running).await.unwrap();
                Ok(())
            }
            Err(why) => Err(BootError::sentence(&why)),
        }
    }

    /// The sentence, which must hold these.
    async fn refuses(&self, named: &[&str]) {
        match self.starts().await {
            Ok(()) => panic!("it started, but should have named {named:?}"),
            Err(sentence) => assert!(named.iter().all(|name| sentence.contains(name)), "{sentence}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_nobody_spoilt_is_served_again_and_again() {
    let _shared = ROLES.read().await;
    let base = Base::new().await;
    for _ in 0..2 {
        assert_eq!(base.starts().await, Ok(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_start_at_once_over_an_empty_database_both_start() {
    let _shared = ROLES.read().await;
    let url = cluster().await.database().await;
    let (one, two) = tokio::join!(start_over(&url), start_over(&url));
    for running in [one, two] {
        running.unwrap_or_else(|why| panic!("{}", why.sentence())).stop().await.unwrap();
    }
}

async fn each_live_table(spoil: impl Fn(&str) -> String, repair: impl Fn(&str, &str) -> String, trigger: &str) {
    let _shared = ROLES.read().await;
    let base = Base::new().await;
    let tables: Vec<String> = sqlx::query_scalar("select table_name from millstream.live_tables order by 1")
        .fetch_all(&base.owner)
        .await
        .unwrap();
    assert!(tables.len() >= 9, "{tables:?}");
    let mut started = Vec::new();
    for table in tables {
        let definition: String = sqlx::query_scalar(
            "select pg_get_triggerdef(oid) from pg_trigger where tgrelid = $1::text::regclass and tgname = $2",
        )
        .bind(&table)
        .bind(trigger)
        .fetch_one(&base.owner)
        .await
        .unwrap();
        base.sql(&spoil(&table)).await;
        match base.starts().await {
            Ok(()) => started.push(table.clone()),
            Err(sentence) => assert!(sentence.contains(&table) && sentence.contains("trigger"), "{sentence}"),
        }
        base.sql(&repair(&table, &definition)).await;
    }
    assert!(started.is_empty(), "it started although these live tables told nobody of their changes: {started:?}");
    assert_eq!(base.starts().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_table_that_lost_its_trigger_stops_the_start() {
    let spoil = |table: &str| format!("drop trigger live_change on {table}");
    each_live_table(spoil, |_, definition| definition.to_owned(), "live_change").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_table_whose_trigger_is_disabled_stops_the_start() {
    let spoil = |table: &str| format!("alter table {table} disable trigger live_change");
    each_live_table(spoil, |table, _| format!("alter table {table} enable trigger live_change"), "live_change").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_table_that_could_be_truncated_in_silence_stops_the_start() {
    let spoil = |table: &str| format!("drop trigger live_truncate on {table}");
    each_live_table(spoil, |_, definition| definition.to_owned(), "live_truncate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_declared_live_in_rust_alone_stops_the_start() {
    let _shared = ROLES.read().await;
    let base = Base::new().await;
    base.sql("delete from millstream.live_tables where table_name = 'customers'").await;
    base.refuses(&["customers", "make_live"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_role_that_could_bypass_row_level_security_stops_the_start() {
    let _alone = ROLES.write().await;
    let base = Base::new().await;
    base.sql("alter role millstream_app bypassrls").await;
    let bypassing = base.starts().await;
    base.sql("alter role millstream_app nobypassrls; alter role millstream_app superuser").await;
    let superuser = base.starts().await;
    base.sql("alter role millstream_app nosuperuser; create role boss bypassrls; grant boss to millstream_app").await;
    let member = base.starts().await;
    base.sql("revoke boss from millstream_app; drop role boss").await;
    assert_eq!(base.starts().await, Ok(()));
    for (refused, named) in [
        (bypassing, ["millstream_app", "BYPASSRLS"]),
        (superuser, ["millstream_app", "superuser"]),
        (member, ["boss", "BYPASSRLS"]),
    ] {
        let sentence = refused.expect_err("it started");
        assert!(named.iter().all(|name| sentence.contains(name)), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_role_that_owns_a_table_stops_the_start() {
    let _shared = ROLES.read().await;
    let base = Base::new().await;
    base.sql("alter table customers owner to millstream_app").await;
    base.refuses(&["millstream_app", "owns", "customers"]).await;
    let base = Base::new().await;
    base.sql("alter function sign_up(uuid, text, text, text) owner to millstream_app").await;
    base.refuses(&["millstream_app", "owns", "sign_up"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_requests_reach_without_row_level_security_stops_the_start() {
    let _shared = ROLES.read().await;
    for spoil in [
        "create table notes (id uuid); grant select on notes to millstream_app",
        "create view notes as select * from customers; grant select on notes to millstream_app",
        "create table notes (id uuid, n int); grant update (n) on notes to public",
    ] {
        let base = Base::new().await;
        base.sql(spoil).await;
        base.refuses(&["public.notes", "row-level security"]).await;
    }
    let base = Base::new().await;
    base.sql("alter table sales_orders disable row level security").await;
    base.refuses(&["public.sales_orders", "row-level security"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_may_read_more_than_events_stops_the_start() {
    let _shared = ROLES.read().await;
    let base = Base::new().await;
    base.sql("grant select on profiles to millstream_feed").await;
    base.refuses(&["millstream_feed", "public.profiles"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_or_an_address_that_is_not_there_is_named() {
    let _shared = ROLES.read().await;
    let url = cluster().await.database().await;
    let sentence = start_over(&url.replace("/test_", "/other_")).await.err().unwrap().sentence();
    assert!(sentence.contains("other_") && sentence.contains("DATABASE_URL"), "{sentence}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let settings = configuration(&[("DATABASE_URL", url.as_str()), ("MILLSTREAM_ADDR", addr.as_str())]);
    let sentence = server::start(settings).await.err().unwrap().sentence();
    assert!(sentence.contains(&addr) && sentence.contains("MILLSTREAM_ADDR"), "{sentence}");
}

/// The program itself, with these settings.
fn program(settings: &[(&str, &str)], room: &Room) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_millstream"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MILLSTREAM_")) {
        program.env_remove(name);
    }
    program.env_remove("DATABASE_URL").env("MILLSTREAM_DATA_DIR", room.path());
    program.envs(settings.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_setting_that_means_nothing_stops_the_start_with_a_sentence_that_names_it() {
    let room = Room::new();
    for (name, value) in [
        ("MILLSTREAM_ADDR", "somewhere"),
        ("MILLSTREAM_ADDR", "127.0.0.1"),
        ("MILLSTREAM_ADDR", ""),
        ("DATABASE_URL", "mysql://x"),
        ("MILLSTREAM_DEMO", "maybe"),
        ("MILLSTREAM_PUBLIC_URL", "ftp://x"),
        ("MILLSTREAM_PORT", "3000"),
        ("MILLSTREAM_POSTGRES_BIN", "/nowhere"),
    ] {
        let ended = program(&[(name, value)], &room);
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && ended.stdout.is_empty(), "{name}={value}");
        assert!(told.contains(name) && !told.contains("panicked"), "{name}={value}: {told}");
        assert_eq!(told.trim().lines().count(), 1, "{told}");
    }
    assert_eq!(room.postmaster(), None, "nothing was started");
}
