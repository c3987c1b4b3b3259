//! What has to be true of the database before anyone is let in: live tables have their triggers, and the two roles can do
//! no more than they should. [`faults`] decides from facts; the rest is the SQL that gathers them.

use crate::running::BootError;
use sqlx::PgPool;
use std::collections::{BTreeSet, HashMap};

/// What the catalogue says.
#[derive(Debug, Default, Clone)]
pub(crate) struct Facts {
    /// The live tables of the database, and whether their triggers stand.
    pub(crate) live_tables: HashMap<String, bool>,
    /// The request role, and every role that it is a member of.
    pub(crate) request_roles: Vec<RequestRole>,
    /// Relations in schema public that the request role has a privilege on and that no row-level security guards.
    pub(crate) unguarded: Vec<String>,
    /// Relations that the feed's role may read, of all schemas.
    pub(crate) read_by_feed: Vec<String>,
}

#[derive(Debug, Default, Clone, sqlx::FromRow)]
pub(crate) struct RequestRole {
    pub(crate) name: String,
    /// It is the login itself, not a role that it belongs to.
    pub(crate) is_login: bool,
    pub(crate) is_superuser: bool,
    pub(crate) bypasses_rls: bool,
    /// Schemas, tables and functions in public and millstream.
    pub(crate) owns: Vec<String>,
}

/// What the feed may read; partitions of the event table have been taken out of the facts.
const FOR_THE_FEED: [&str; 5] = [
    "public.realtime_table_events",
    "millstream.epoch",
    "millstream.horizon",
    "millstream.live_tables",
    "millstream.live_table_state",
];

/// One sentence for each thing that is wrong.
pub(crate) fn faults(declared: &[&str], facts: &Facts) -> Vec<String> {
    let mut faults = Vec::new();
    for table in declared.iter().filter(|table| !facts.live_tables.contains_key(**table)) {
        faults.push(format!(
            "the table {table} is declared live in Rust, but no migration calls millstream.make_live('{table}')"
        ));
    }
    // All that were ever made live, also those that are only parts of what is declared: sorted, for a steady message.
    let lost: BTreeSet<_> = facts.live_tables.iter().filter(|(_, stand)| !**stand).map(|(table, _)| table).collect();
    for table in lost {
        faults.push(format!(
            "the live table {table} has lost a trigger (live_change, live_truncate, or live_children_{table} of its parent): enable it, or make it again in a migration"
        ));
    }
    if facts.request_roles.is_empty() {
        faults.push("the role that requests run as was not found in pg_roles".to_owned());
    }
    for role in &facts.request_roles {
        let who = if role.is_login {
            format!("requests run as {}, which", role.name)
        } else {
            format!("requests run as a member of {}, which", role.name)
        };
        if role.is_superuser {
            faults.push(format!("{who} is a superuser: row-level security would not hold"));
        } else if role.bypasses_rls {
            faults.push(format!("{who} has BYPASSRLS: row-level security would not hold"));
        } else if let Some(owned) = summary(&role.owns) {
            faults.push(format!(
                "{who} owns {owned}: owners stand above row-level security; give it to the owner of the database"
            ));
        }
    }
    for relation in &facts.unguarded {
        faults.push(format!(
            "requests may reach {relation}, which no row-level security guards: enable it, or revoke the privilege of millstream_app"
        ));
    }
    for relation in &facts.read_by_feed {
        if !FOR_THE_FEED.contains(&relation.as_str()) {
            faults.push(format!(
                "the feed's role millstream_feed may read {relation}, and must read events alone: revoke it"
            ));
        }
    }
    faults
}

fn summary(names: &[String]) -> Option<String> {
    match names {
        [] => None,
        [only] => Some(only.clone()),
        [first, rest @ ..] => Some(format!("{first} and {} more", rest.len())),
    }
}

/// Asks both roles' own connections.
///
/// # Errors
/// Names everything that is wrong, so that the server does not start.
pub(crate) async fn check(declared: &[&str], app: &PgPool, feed: &PgPool) -> Result<(), BootError> {
    let facts =
        gather(app, feed).await.map_err(|why| BootError::Schema { attempt: "check the rights of the roles", why })?;
    let faults = faults(declared, &facts);
    if faults.is_empty() { Ok(()) } else { Err(BootError::Unsafe(faults)) }
}

async fn gather(app: &PgPool, feed: &PgPool) -> Result<Facts, sqlx::Error> {
    let live_tables: Vec<(String, bool)> =
        sqlx::query_as("select table_name, triggers_stand from millstream.live_table_state").fetch_all(app).await?;
    Ok(Facts {
        live_tables: live_tables.into_iter().collect(),
        request_roles: sqlx::query_as(REQUEST_ROLES).fetch_all(app).await?,
        unguarded: sqlx::query_scalar(UNGUARDED).fetch_all(app).await?,
        read_by_feed: sqlx::query_scalar(READABLE).fetch_all(feed).await?,
    })
}

const REQUEST_ROLES: &str = "
select r.rolname::text as name, r.rolname = current_user as is_login, r.rolsuper as is_superuser, r.rolbypassrls as bypasses_rls,
  array(
    select 'schema ' || n.nspname from pg_namespace n
    where n.nspname in ('public', 'millstream') and n.nspowner = r.oid
    union all
    select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'millstream') and c.relowner = r.oid
    union all
    select n.nspname || '.' || p.proname || '()' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'millstream') and p.proowner = r.oid
  ) as owns
from pg_roles r
where pg_has_role(current_user, r.oid, 'MEMBER')
order by r.rolname <> current_user, r.rolname";

// A view is guarded only if it asks with the rights of who asks. What an extension brought (pg_stat_statements and the
// like) is the business of whoever installed it.
const UNGUARDED: &str = "
select n.nspname || '.' || c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public'
  and c.relkind in ('r', 'p', 'f', 'm', 'v')
  and not (c.relkind in ('r', 'p') and c.relrowsecurity)
  and not (c.relkind = 'v' and coalesce(c.reloptions @> '{security_invoker=true}' or c.reloptions @> '{security_invoker=on}', false))
  and (has_table_privilege(current_user, c.oid, 'select, insert, update, delete, truncate, references, trigger')
       or has_any_column_privilege(current_user, c.oid, 'select, insert, update, references'))
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1";

const READABLE: &str = "
select n.nspname || '.' || c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
  and c.relkind in ('r', 'p', 'f', 'm', 'v')
  and has_schema_privilege(current_user, n.oid, 'usage')
  and (has_table_privilege(current_user, c.oid, 'select') or has_any_column_privilege(current_user, c.oid, 'select'))
  and not exists (select from pg_inherits i where i.inhrelid = c.oid and i.inhparent = 'public.realtime_table_events'::regclass)
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1";

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            live_tables: HashMap::from([("orders".to_owned(), true), ("sessions".to_owned(), true)]),
            request_roles: vec![RequestRole {
                name: "millstream_app".to_owned(),
                is_login: true,
                ..RequestRole::default()
            }],
            unguarded: Vec::new(),
            read_by_feed: FOR_THE_FEED.iter().map(ToString::to_string).collect(),
        }
    }

    fn only_fault(change: impl FnOnce(&mut Facts)) -> String {
        let mut facts = good();
        change(&mut facts);
        let faults = faults(&["orders"], &facts);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.concat()
    }

    #[test]
    fn a_database_as_the_migrations_make_it_is_let_pass() {
        assert_eq!(faults(&["orders"], &good()), Vec::<String>::new());
    }

    #[test]
    fn a_declared_table_without_its_trigger_is_named() {
        let lost = only_fault(|facts| {
            facts.live_tables.insert("orders".to_owned(), false);
        });
        assert!(lost.contains("orders has lost a trigger"), "{lost}");
        let never = only_fault(|facts| {
            facts.live_tables.remove("orders");
        });
        assert!(never.contains("make_live('orders')"), "{never}");
    }

    #[test]
    fn a_request_role_above_row_level_security_is_refused() {
        let change = |facts: &mut Facts| facts.request_roles[0].is_superuser = true;
        assert!(only_fault(change).contains("superuser"));
        let change = |facts: &mut Facts| facts.request_roles[0].bypasses_rls = true;
        assert!(only_fault(change).contains("BYPASSRLS"));
        let owner = only_fault(|facts| {
            facts.request_roles[0].owns = vec!["public.orders".to_owned(), "public.x".to_owned()];
        });
        assert!(owner.contains("owns public.orders and 1 more"), "{owner}");
    }

    #[test]
    fn so_is_a_member_of_such_a_role() {
        let member = only_fault(|facts| {
            facts.request_roles.push(RequestRole {
                name: "boss".to_owned(),
                owns: vec!["schema public".to_owned()],
                ..RequestRole::default()
            });
        });
        assert!(member.contains("a member of boss, which owns schema public"), "{member}");
    }

    #[test]
    fn an_unguarded_table_and_a_curious_feed_are_named() {
        let open = only_fault(|facts| facts.unguarded.push("public.notes".to_owned()));
        assert!(open.contains("public.notes"), "{open}");
        let curious = only_fault(|facts| facts.read_by_feed.push("public.profiles".to_owned()));
        assert!(curious.contains("millstream_feed may read public.profiles"), "{curious}");
    }
}
