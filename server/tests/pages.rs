//! Pages of a list lie against each other: every row is on one, whichever end they are read from, and however many rows
//! share a sort key.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::world::{Person, World};
use uuid::Uuid;

/// More than an answer to "all between" holds.
const ORDERS: i32 = 430;

struct List<'w> {
    world: &'w World,
    organization: Uuid,
    who: &'w Person,
    sort: &'static str,
    status: Option<&'static str>,
}

struct Page {
    ids: Vec<Uuid>,
    total: i64,
    previous: Option<String>,
    next: Option<String>,
}

impl List<'_> {
    async fn page(&self, after: Option<&str>, until: Option<&str>) -> Page {
        let mut query =
            vec![("organization".to_owned(), self.organization.to_string()), ("sort".to_owned(), self.sort.to_owned())];
        let optional = [("status", self.status), ("after", after), ("until", until)];
        query.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))));
        let data = self.world.get(Some(self.who), "/api/orders/list", &query).await.ok()["data"].clone();
        let cursor = |name: &str| data[name].as_str().map(str::to_owned);
        Page {
            ids: data["rows"].as_array().unwrap().iter().map(|row| id_of(&row["id"])).collect(),
            total: data["total"].as_i64().unwrap(),
            previous: cursor("previous"),
            next: cursor("next"),
        }
    }

    /// All rows, as the database orders them.
    async fn whole(&self) -> Vec<Uuid> {
        let order = match self.sort {
            "newest" => "created_at desc, id desc",
            "updated" => "updated_at desc, id desc",
            _ => "coalesce(due_on, 'infinity'), id",
        };
        let statement = format!(
            "select id from sales_orders where organization_id = $1 and ($2::text is null or status = $2) order by {order}"
        );
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .bind(self.organization)
            .bind(self.status)
            .fetch_all(&self.world.owner)
            .await
            .unwrap()
    }
}

fn id_of(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn pages_lie_against_each_other_from_either_end_and_between() {
    let world = World::new().await;
    let scene = world.scene().await;
    // Many share a due date, a moment of creation or of change.
    sqlx::query(
        "insert into sales_orders (id, organization_id, number, title, status, customer_id, due_on, created_at, updated_at)
         select gen_random_uuid(), $1, 'T-' || n, 'Order ' || n, (array['draft', 'released'])[n % 2 + 1], $2,
           (array[null, date '2031-01-01', date '2031-01-02', date '2031-05-05'])[n % 4 + 1],
           timestamptz '2030-01-01' + (n / 7) * interval '1 second', timestamptz '2030-02-01' + (n % 11) * interval '1 day'
         from generate_series(1, $3) n",
    )
    .bind(scene.organization)
    .bind(scene.customer)
    .bind(ORDERS)
    .execute(&world.owner)
    .await
    .unwrap();
    for (sort, status) in [("newest", None), ("updated", None), ("due", None), ("due", Some("draft"))] {
        let list = List { world: &world, organization: scene.organization, who: &scene.owner, sort, status };
        let whole = list.whole().await;
        let mut read = list.page(None, None).await;
        assert_eq!((read.total, read.previous.as_ref()), (whole.len() as i64, None), "{sort}");
        let mut down = read.ids.clone();
        let mut places = Vec::new();
        while let Some(next) = read.next {
            assert_eq!(read.ids.len(), 50);
            read = list.page(Some(&next), None).await;
            assert_eq!(read.previous.as_deref(), Some(next.as_str()), "a page begins where it was asked to");
            down.extend(&read.ids);
            places.push(next);
        }
        assert_eq!(down, whole, "{sort}, downwards");

        let last = places.last().unwrap().clone();
        let mut up = list.page(Some(&last), None).await.ids;
        let mut end = Some(last);
        while let Some(until) = end {
            let page = list.page(None, Some(&until)).await;
            assert_eq!(page.next.as_deref(), Some(until.as_str()), "a page ends where it was asked to");
            up.splice(0..0, page.ids);
            end = page.previous;
        }
        assert_eq!(up, whole, "{sort}, upwards");

        let mut between = Vec::new();
        let mut start = "start".to_owned();
        for place in &places {
            let page = list.page(Some(&start), Some(place)).await;
            assert_eq!(page.next.as_deref(), Some(place.as_str()));
            between.extend(page.ids);
            start.clone_from(place);
        }
        assert_eq!(between, whole[..50 * places.len()], "{sort}, between the same places");

        // Too much for one answer is told by where it ends.
        let far = places.last().unwrap();
        let (mut start, mut all) = ("start".to_owned(), Vec::new());
        loop {
            let page = list.page(Some(&start), Some(far)).await;
            assert!(page.ids.len() <= 200);
            all.extend(page.ids);
            match page.next {
                Some(next) if next != *far => start = next,
                _ => break,
            }
        }
        assert_eq!(all, whole[..50 * places.len()], "{sort}, in parts");
    }
    world.stop().await;
}
