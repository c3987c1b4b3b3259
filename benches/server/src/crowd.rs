//! Who and what is in the database: one organization, its people with their sessions, its orders. Made by SQL, at once.

use crate::Outcome;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

pub(crate) struct Crowd {
    pub(crate) organization: Uuid,
    pub(crate) people: Vec<Person>,
    pub(crate) orders: Vec<Uuid>,
}

pub(crate) struct Person {
    pub(crate) id: Uuid,
    token: String,
}

impl Person {
    pub(crate) fn cookie(&self) -> String {
        cookie(&self.token)
    }
}

/// As long as a person's, for who asks nobody's name: so handshakes are alike.
pub(crate) fn stand_in_cookie() -> String {
    cookie(&token())
}

fn cookie(token: &str) -> String {
    format!("millstream={token}")
}

fn token() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Crowd {
    /// An organization with so many members, of the role `planner`, and so many orders of one customer.
    pub(crate) async fn gather(owner: &mut PgConnection, people: usize, orders: usize) -> Outcome<Self> {
        let organization = Uuid::now_v7();
        let customer = Uuid::now_v7();
        sqlx::query("insert into organizations (id, name) values ($1, 'Load')")
            .bind(organization)
            .execute(&mut *owner)
            .await?;
        sqlx::query("insert into customers (id, organization_id, name) values ($1, $2, 'A customer')")
            .bind(customer)
            .bind(organization)
            .execute(&mut *owner)
            .await?;
        let people: Vec<Person> = (0..people).map(|_| Person { id: Uuid::now_v7(), token: token() }).collect();
        let ids: Vec<Uuid> = people.iter().map(|person| person.id).collect();
        let tokens: Vec<&str> = people.iter().map(|person| person.token.as_str()).collect();
        sqlx::query(
            "insert into profiles (id, email, name)
             select id, 'p' || replace(id::text, '-', '') || '@millstream.test', 'Somebody' from unnest($1::uuid[]) as id",
        )
        .bind(&ids)
        .execute(&mut *owner)
        .await?;
        sqlx::query(
            "insert into memberships (organization_id, person_id, role)
             select $1, id, 'planner' from unnest($2::uuid[]) as id",
        )
        .bind(organization)
        .bind(&ids)
        .execute(&mut *owner)
        .await?;
        sqlx::query(
            "insert into sessions (person_id, token_hash, expires_at)
             select id, sha256(convert_to(token, 'utf8')), now() + interval '1 day'
             from unnest($1::uuid[], $2::text[]) as made (id, token)",
        )
        .bind(&ids)
        .bind(&tokens)
        .execute(&mut *owner)
        .await?;
        let orders: Vec<Uuid> = (0..orders).map(|_| Uuid::now_v7()).collect();
        sqlx::query(
            "insert into sales_orders (id, organization_id, customer_id, title)
             select id, $1, $2, 'An order' from unnest($3::uuid[]) as id",
        )
        .bind(organization)
        .bind(customer)
        .bind(&orders)
        .execute(&mut *owner)
        .await?;
        sqlx::raw_sql("analyze").execute(&mut *owner).await?;
        Ok(Self { organization, people, orders })
    }

    /// The `watch` frame for these orders, numbered from 0, and for the list of all of them where wanted, under the
    /// number after the last.
    pub(crate) fn watch(&self, orders: &[Uuid], list: List, stamp: &Stamp) -> String {
        let organization = self.organization;
        let held = format!(r#""snapshot":"{}","epoch":"{}""#, stamp.snapshot, stamp.epoch);
        let mut keys: Vec<String> = orders
            .iter()
            .enumerate()
            .map(|(number, order)| {
                format!(
                    r#"{{"number":{number},"organization":"{organization}","table":"sales_orders","record":"{order}",{held}}}"#
                )
            })
            .collect();
        if list == List::Watched {
            let number = keys.len();
            keys.push(format!(
                r#"{{"number":{number},"organization":"{organization}","table":"sales_orders","list":{{"sort":"newest"}},{held}}}"#
            ));
        }
        format!(r#"{{"type":"watch","keys":[{}]}}"#, keys.join(","))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Watched,
    Not,
}

/// When a value was read.
#[derive(Clone, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) snapshot: String,
    pub(crate) epoch: String,
}

impl Stamp {
    /// What a read would carry now.
    pub(crate) async fn now(owner: &mut PgConnection) -> Outcome<Self> {
        let (snapshot, epoch) = sqlx::query_as("select pg_current_snapshot()::text, epoch::text from millstream.epoch")
            .fetch_one(owner)
            .await?;
        Ok(Self { snapshot, epoch })
    }
}
