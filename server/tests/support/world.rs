//! A server over a database of its own, the owner's way into that database, and people with sessions.

use super::bus::{self, Nats};
use super::cluster::cluster;
use super::scene::Scene;
use super::socket::Socket;
use millstream::snapshot::{Epoch, Stamp, Xid};
use reqwest::header::{COOKIE, HeaderMap};
use serde_json::Value;
use server::{BootError, Configuration, Running, start};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use std::collections::HashMap;
use uuid::Uuid;

pub struct World {
    pub server: Running,
    /// Where servers hear of changes from each other: one that was there before, and publishes them.
    publisher: Option<Running>,
    /// Stands above row-level security, as `psql` of an operator does.
    pub owner: PgPool,
    pub http: reqwest::Client,
    pub base: String,
    /// An organization with no member, to write in what nobody is to see.
    pub nowhere: Uuid,
}

/// Somebody with an account and a session.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: Uuid,
    pub name: String,
    pub email: String,
    pub token: String,
}

impl Person {
    pub fn cookie(&self) -> String {
        format!("millstream={}", self.token)
    }
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, body }
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body
    }

    /// The stamp of a read, a mutation or an absence.
    pub fn stamp(&self) -> Stamp {
        stamp_of(&self.body)
    }
}

pub fn stamp_of(body: &Value) -> Stamp {
    serde_json::from_value(body.clone()).unwrap_or_else(|why| panic!("no stamp in {body}: {why}"))
}

pub fn xid_of(body: &Value) -> Xid {
    Xid(body["xid"].as_u64().unwrap_or_else(|| panic!("no xid in {body}")))
}

/// The configuration of a server on a port of its own.
pub fn configuration(settings: &[(&str, &str)]) -> Configuration {
    let nats = bus::shared().map(Nats::url);
    let nats = nats.as_deref().map(|url| ("MILLSTREAM_NATS_URL", url));
    let settings: HashMap<&str, &str> =
        [("MILLSTREAM_ADDR", "127.0.0.1:0")].into_iter().chain(nats).chain(settings.iter().copied()).collect();
    Configuration::parse(|name| settings.get(name).map(|value| (*value).to_owned())).unwrap()
}

/// Starts a server over the database.
pub async fn start_over(url: &str) -> Result<Running, BootError> {
    start(configuration(&[("DATABASE_URL", url)])).await
}

pub async fn pool(url: &str) -> PgPool {
    // As the server's own owner does: "$user" is the engine's schema where the owner is called millstream.
    let options: PgConnectOptions = url.parse().unwrap();
    let options = options.options([("search_path", "public")]);
    PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap()
}

impl World {
    /// A server over a new database of the binary's cluster.
    pub async fn new() -> Self {
        let url = cluster().await.database().await;
        let start = async || start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence()));
        let publisher = match bus::shared() {
            Some(_) => Some(start().await),
            None => None,
        };
        Self { publisher, ..Self::over(start().await).await }
    }

    /// What is needed to talk with a server that runs.
    pub async fn over(server: Running) -> Self {
        let owner = pool(&server.owner_url).await;
        let base = format!("http://{}", server.addr);
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut world = Self { server, publisher: None, owner, http, base, nowhere: Uuid::nil() };
        world.nowhere = world.organization("Nowhere").await;
        world
    }

    pub async fn stop(self) {
        self.owner.close().await;
        self.server.stop().await.unwrap();
        if let Some(publisher) = self.publisher {
            publisher.stop().await.unwrap();
        }
    }

    // ------------------------------------------------------------------------------------------ who there is

    pub async fn person(&self, name: &str) -> Person {
        let id = Uuid::now_v7();
        let email = format!("{}-{}@millstream.test", name.to_lowercase(), id.simple());
        sqlx::query("insert into profiles (id, email, name) values ($1, $2, $3)")
            .bind(id)
            .bind(&email)
            .bind(name)
            .execute(&self.owner)
            .await
            .unwrap();
        let token = self.session(id).await;
        Person { id, name: name.to_owned(), email, token }
    }

    /// Signs the person in without a password, and gives the cookie's token.
    pub async fn session(&self, person: Uuid) -> String {
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        sqlx::query("select start_session($1, sha256(convert_to($2, 'utf8')))")
            .bind(person)
            .bind(&token)
            .execute(&self.owner)
            .await
            .unwrap();
        token
    }

    pub async fn organization(&self, name: &str) -> Uuid {
        self.made("insert into organizations (id, name) values ($1, $2)", |query| query.bind(name.to_owned())).await
    }

    pub async fn join(&self, organization: Uuid, person: &Person, role: &str, customer: Option<Uuid>) {
        sqlx::query("insert into memberships (organization_id, person_id, role, customer_id) values ($1, $2, $3, $4)")
            .bind(organization)
            .bind(person.id)
            .bind(role)
            .bind(customer)
            .execute(&self.owner)
            .await
            .unwrap();
    }

    /// A person who is a member.
    pub async fn member(&self, organization: Uuid, name: &str, role: &str) -> Person {
        let person = self.person(name).await;
        self.join(organization, &person, role, None).await;
        person
    }

    pub async fn customer(&self, organization: Uuid) -> Uuid {
        self.made("insert into customers (id, organization_id, name) values ($1, $2, 'A customer')", |query| {
            query.bind(organization)
        })
        .await
    }

    pub async fn order(&self, organization: Uuid, customer: Uuid) -> Uuid {
        self.made(
            "insert into sales_orders (id, organization_id, customer_id, title) values ($1, $2, $3, 'An order')",
            |query| query.bind(organization).bind(customer),
        )
        .await
    }

    pub async fn line(&self, order: Uuid) -> Uuid {
        self.made(
            "insert into sales_order_lines (id, order_id, position, description, quantity) values ($1, $2, 1, 'A line', 1)",
            |query| query.bind(order),
        )
        .await
    }

    pub async fn project(&self, organization: Uuid) -> Uuid {
        self.made("insert into projects (id, organization_id, name) values ($1, $2, 'A project')", |query| {
            query.bind(organization)
        })
        .await
    }

    pub async fn project_member(&self, project: Uuid, person: Uuid) -> Uuid {
        self.made("insert into project_members (id, project_id, person_id) values ($1, $2, $3)", |query| {
            query.bind(project).bind(person)
        })
        .await
    }

    pub async fn project_order(&self, project: Uuid, order: Uuid) -> Uuid {
        self.made("insert into project_orders (id, project_id, order_id) values ($1, $2, $3)", |query| {
            query.bind(project).bind(order)
        })
        .await
    }

    async fn made(&self, sql: &'static str, bind: impl FnOnce(Query) -> Query) -> Uuid {
        let id = Uuid::now_v7();
        bind(sqlx::query(sql).bind(id)).execute(&self.owner).await.unwrap();
        id
    }

    /// An organization with one of everything.
    pub async fn scene(&self) -> Scene {
        Scene::new(self).await
    }

    // ------------------------------------------------------------------------------------------ plain SQL

    /// Runs statements as the owner in one transaction, and gives its id.
    pub async fn change(&self, sql: &str) -> Xid {
        let mut transaction = self.owner.begin().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *transaction)
            .await
            .unwrap_or_else(|why| panic!("{sql}: {why}"));
        let xid = xid_in(&mut transaction).await;
        transaction.commit().await.unwrap();
        xid
    }

    /// The same where it must be refused: gives PostgreSQL's code and message.
    pub async fn refused(&self, sql: &str) -> (String, String) {
        match sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.owner).await {
            Ok(done) => panic!("{sql} went through: {done:?}"),
            Err(sqlx::Error::Database(refusal)) => {
                (refusal.code().unwrap_or_default().into_owned(), refusal.message().to_owned())
            }
            Err(other) => panic!("{sql}: {other}"),
        }
    }

    pub async fn count(&self, sql: &str) -> i64 {
        let counted = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.owner).await;
        counted.unwrap_or_else(|why| panic!("{sql}: {why}"))
    }

    /// The events of a transaction: organization, person, table, record, type, in the order in which they were written.
    pub async fn events(&self, xid: Xid) -> Vec<Told> {
        sqlx::query_as(
            "select organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets
             from realtime_table_events where xid = $1::text::xid8 order by id",
        )
        .bind(xid.0.to_string())
        .fetch_all(&self.owner)
        .await
        .unwrap()
    }

    /// The stamp that a read would have now, once the hub has come as far: what was before it is not told any more.
    pub async fn stamp(&self) -> Stamp {
        let stamp = self.stamp_ahead().await;
        super::until("the hub's cursor", async || {
            let (snapshot, epoch) = self.server.hub.cursor()?;
            (Stamp { snapshot, epoch }).covers(&stamp).then_some(())
        })
        .await;
        stamp
    }

    /// The stamp that a read would have now; the hub may be behind it.
    pub async fn stamp_ahead(&self) -> Stamp {
        let (snapshot, epoch): (String, Uuid) =
            sqlx::query_as("select pg_current_snapshot()::text, epoch from millstream.epoch")
                .fetch_one(&self.owner)
                .await
                .unwrap();
        Stamp { snapshot: snapshot.parse().unwrap(), epoch: Epoch(epoch) }
    }

    /// A mutation that nobody sees but by its cursor: the connections of its author are told that it has passed.
    /// Whatever was to be told of earlier transactions stands before that.
    pub async fn fence(&self, person: &Person) -> Xid {
        let mut transaction = self.owner.begin().await.unwrap();
        sqlx::query("select set_config('millstream.person', $1, true), set_config('millstream.mutation', $2, true)")
            .bind(person.id.to_string())
            .bind(Uuid::now_v7().to_string())
            .execute(&mut *transaction)
            .await
            .unwrap();
        sqlx::query("insert into customers (id, organization_id, name) values ($1, $2, 'Fence')")
            .bind(Uuid::now_v7())
            .bind(self.nowhere)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let xid = xid_in(&mut transaction).await;
        transaction.commit().await.unwrap();
        xid
    }

    /// Everything that is in the database but the events, and what was refused to whom: equal before and after what must
    /// change nothing.
    pub async fn digest(&self) -> Vec<(String, String)> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname in ('public', 'millstream') and c.relkind = 'r'
               and c.relname not like 'realtime_table_events%' and c.relname <> '_sqlx_migrations' order by 1",
        )
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let mut digest = Vec::new();
        for table in tables {
            let which = if table == "millstream.mutations" { "where refusal is null" } else { "" };
            let sql =
                format!("select coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {table} t {which}");
            let rows: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.owner).await.unwrap();
            digest.push((table, rows));
        }
        digest
    }

    // ------------------------------------------------------------------------------------------ requests

    pub async fn post(&self, who: Option<&Person>, path: &str, body: &Value) -> Answer {
        self.send(who, self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    pub async fn get(&self, who: Option<&Person>, path: &str, query: &[(String, String)]) -> Answer {
        self.send(who, self.http.get(format!("{}{path}", self.base)).query(query)).await
    }

    pub async fn send(&self, who: Option<&Person>, request: reqwest::RequestBuilder) -> Answer {
        let request = match who {
            Some(person) => request.header(COOKIE, person.cookie()),
            None => request,
        };
        Answer::of(request.send().await.unwrap()).await
    }

    /// The person's live connection, opened once the hub has heard of all that was before.
    pub async fn live(&self, person: &Person) -> Socket {
        self.stamp().await;
        Socket::open(&self.server.addr.to_string(), person).await
    }
}

/// A row of the event table.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Told {
    pub organization_id: Option<Uuid>,
    pub person_id: Option<Uuid>,
    pub table_name: String,
    pub record_id: Uuid,
    pub event_type: String,
    pub audience: Option<Vec<Uuid>>,
    pub changed: Option<Vec<String>>,
    pub old_facets: Option<Value>,
    pub new_facets: Option<Value>,
}

type Query = sqlx::query::Query<'static, Postgres, sqlx::postgres::PgArguments>;

pub async fn xid_in(transaction: &mut Transaction<'static, Postgres>) -> Xid {
    let xid: String =
        sqlx::query_scalar("select pg_current_xact_id()::text").fetch_one(&mut **transaction).await.unwrap();
    Xid(xid.parse().unwrap())
}
