-- The engine: the clock (epoch), the change events, the one call that makes a table live, and the stored answers of
-- mutations. Nothing here knows a table of the product.

-- Requests run as millstream_app, the feed as millstream_feed. Neither owns anything. The server gives them their
-- passwords; in the making of the schema they only have to exist.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['millstream_app', 'millstream_feed'] loop
    continue when exists (select from pg_roles where rolname = wanted);
    begin
      execute format('create role %I nologin nosuperuser nobypassrls nocreatedb nocreaterole', wanted);
    exception
      when duplicate_object or unique_violation then null; -- roles belong to the cluster: another database made it
    end;
  end loop;
end
$$;

create schema millstream;
revoke create on schema public from public;
grant usage on schema public, millstream to millstream_app, millstream_feed;

-- Who acts, set by the server for the length of one transaction.
create function millstream.person() returns uuid
language sql stable parallel safe
return nullif(current_setting('millstream.person', true), '')::uuid;

create function millstream.mutation() returns uuid
language sql stable parallel safe
return nullif(current_setting('millstream.mutation', true), '')::uuid;

---------------------------------------------------------------------------------------------------- the epoch
-- One uninterrupted life of the database. UNLOGGED on purpose: the row survives a clean restart and is gone after a
-- crash or a promotion, which is just when transaction ids may be given out a second time.
create unlogged table millstream.epoch (
  one boolean primary key default true check (one),
  epoch uuid not null,
  cluster text not null -- a restored dump carries the row along; the cluster that it names is then another
);
grant select on millstream.epoch to millstream_app, millstream_feed;

-- Events of transactions before this one are no longer all kept: a stamp that did not see all of those is stale. It
-- moves when events are dropped; a new epoch needs no horizon, for stamps of another epoch are stale by themselves.
create table millstream.horizon (
  one boolean primary key default true check (one),
  xid xid8 not null
);
insert into millstream.horizon (xid) values ('0');
grant select on millstream.horizon to millstream_feed;

create function millstream.this_cluster() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
return (select c.system_identifier::text from pg_control_system() c)
  || ':' || (select d.oid::text from pg_database d where d.datname = current_database());

-- Gives the epoch, and begins a new one where there is none. Writes only then, so calling it is cheap.
create function millstream.ensure_epoch() returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  found_epoch uuid;
begin
  select e.epoch into found_epoch from millstream.epoch e where e.cluster = millstream.this_cluster();
  if found then
    return found_epoch;
  end if;
  lock table millstream.epoch in share row exclusive mode;
  select e.epoch into found_epoch from millstream.epoch e where e.cluster = millstream.this_cluster();
  if found then
    return found_epoch;
  end if;
  if exists (select from millstream.epoch) then
    return millstream.renew_epoch(); -- a dump of another cluster: its transaction ids mean nothing here
  end if;
  -- After a crash the events that are there are durable, and so are their transaction ids: they may stay.
  insert into millstream.epoch (epoch, cluster) values (gen_random_uuid(), millstream.this_cluster())
  returning epoch into found_epoch;
  return found_epoch;
end
$$;

-- Everything that any client holds becomes stale, and the event table begins anew. Run it after restoring a backup.
create function millstream.renew_epoch() returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  new_epoch uuid := gen_random_uuid();
begin
  truncate public.realtime_table_events;
  delete from millstream.epoch;
  insert into millstream.epoch (epoch, cluster) values (new_epoch, millstream.this_cluster());
  update millstream.horizon set xid = '0'; -- the numbers of another cluster say nothing here
  return new_epoch;
end
$$;
revoke execute on function millstream.renew_epoch(), millstream.ensure_epoch() from public;
grant execute on function millstream.ensure_epoch() to millstream_app, millstream_feed;

---------------------------------------------------------------------------------------------------- change events
create table public.realtime_table_events (
  id bigint generated always as identity,
  xid xid8 not null default pg_current_xact_id(), -- the top-level transaction; a savepoint has the same
  organization_id uuid,                           -- scope organization
  person_id uuid,                                 -- scope person; both may be set, one always is but for the role catalogue
  table_name text not null,
  record_id uuid not null,
  event_type text not null check (event_type in ('INSERT', 'UPDATE', 'DELETE')),
  audience uuid[],                                -- narrows the organization to these people, old and new together
  changed text[],
  old_facets jsonb,
  new_facets jsonb,
  actor_id uuid,
  mutation_id uuid,
  created_at timestamptz not null default clock_timestamp()
) partition by range (created_at);

-- The one index that the feed and the stale check need; each further one costs every write of the product.
create index realtime_table_events_xid on public.realtime_table_events (xid);

-- Rows for a day that nobody made a partition for: nothing is lost when the server has been away for weeks.
create table public.realtime_table_events_default partition of public.realtime_table_events default;

grant select on public.realtime_table_events to millstream_feed;

-- Makes the partitions of the coming days; the server calls it at start and every hour. Cost: a few catalogue look-ups.
create function millstream.make_event_partitions(days_ahead integer default 14) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  day date;
  partition_name text;
begin
  perform pg_advisory_xact_lock(hashtext('millstream.make_event_partitions'));
  for ahead in 0..days_ahead loop
    day := (now() at time zone 'utc')::date + ahead;
    partition_name := 'realtime_table_events_' || to_char(day, 'YYYYMMDD');
    if to_regclass('public.' || partition_name) is null and not exists (
      select from public.realtime_table_events_default d
      where d.created_at >= day::timestamp at time zone 'utc' and d.created_at < (day + 1)::timestamp at time zone 'utc'
    ) then
      execute format(
        'create table public.%I partition of public.realtime_table_events for values from (%L) to (%L)',
        partition_name, day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
    end if;
  end loop;
end
$$;
revoke execute on function millstream.make_event_partitions(integer) from public;
select millstream.make_event_partitions();

---------------------------------------------------------------------------------------------------- live tables
-- What `make_live` was told; the server's boot check compares it with what is declared in Rust.
create table millstream.live_tables (
  table_name text primary key,
  organization_column text,
  parent_table text references millstream.live_tables,
  parent_column text,
  person_column text,
  audience_column text,
  facets text[] not null,
  check ((parent_table is null) = (parent_column is null)),
  check (organization_column is not null or parent_table is not null or person_column is not null)
);
grant select on millstream.live_tables to millstream_app, millstream_feed;

-- The organization that a row belongs to: by its own column, or through its parent's, as deep as it takes.
-- Null only for tables of the person scope; a parent that is not found raises.
create function public.get_organization_id_for_change(of_table text, of_row jsonb) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  live millstream.live_tables;
  parent_row jsonb;
begin
  select * into live from millstream.live_tables l where l.table_name = of_table;
  if not found then
    raise exception 'table % is not live: no call of millstream.make_live names it', of_table;
  end if;
  if live.organization_column is not null then
    return (of_row ->> live.organization_column)::uuid;
  end if;
  if live.parent_table is null then
    return null;
  end if;
  execute format('select to_jsonb(p) from public.%I p where p.id = $1', live.parent_table)
    into parent_row using (of_row ->> live.parent_column)::uuid;
  if parent_row is null then
    raise exception 'the organization of a row in % cannot be found: no row in % has the id %',
      of_table, live.parent_table, coalesce(of_row ->> live.parent_column, 'null');
  end if;
  return public.get_organization_id_for_change(live.parent_table, parent_row);
end
$$;

create function millstream.facets_of(names text[], of_row jsonb) returns jsonb
language sql immutable parallel safe
return (select jsonb_object_agg(name, of_row -> name) from unnest(names) as name);

-- The row trigger: writes the event in the transaction of the change.
create function public.notify_organization_of_table_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  live millstream.live_tables;
  old_row jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  new_row jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  old_facets jsonb;
  new_facets jsonb;
  old_organization uuid;
  new_organization uuid;
  old_person uuid;
  new_person uuid;
  told uuid[];
  changed_columns text[];
begin
  if old_row = new_row then
    return null; -- an update that changes nothing is no change
  end if;
  select * into strict live from millstream.live_tables l where l.table_name = tg_table_name;
  -- A commit that was told and then lost in a crash would let its transaction id come back under another change.
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  if old_row is not null then
    old_organization := public.get_organization_id_for_change(tg_table_name, old_row);
    old_person := (old_row ->> live.person_column)::uuid;
    old_facets := millstream.facets_of(live.facets, old_row);
  end if;
  if new_row is not null then
    new_organization := public.get_organization_id_for_change(tg_table_name, new_row);
    new_person := (new_row ->> live.person_column)::uuid;
    new_facets := millstream.facets_of(live.facets, new_row);
  end if;
  if coalesce(old_organization, new_organization, old_person, new_person) is null then
    raise exception 'a change of % % belongs to no organization and no person',
      tg_table_name, coalesce(new_row, old_row) ->> 'id';
  end if;
  if old_row is not null and new_row is not null then
    select array_agg(n.key) into changed_columns
    from jsonb_each(new_row) n where old_row -> n.key is distinct from n.value;
  end if;
  -- A version without an audience was or is for everybody, and so is the news of it. Nobody is an audience too.
  if live.audience_column is not null
     and (old_row is null or jsonb_typeof(old_row -> live.audience_column) = 'array')
     and (new_row is null or jsonb_typeof(new_row -> live.audience_column) = 'array') then
    select coalesce(array_agg(distinct person::uuid), '{}') into told from (
      select jsonb_array_elements_text(old_row -> live.audience_column) as person
      union all
      select jsonb_array_elements_text(new_row -> live.audience_column)
    ) both_versions;
  end if;
  insert into public.realtime_table_events
    (organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets, actor_id, mutation_id)
  values
    (coalesce(new_organization, old_organization), coalesce(new_person, old_person), tg_table_name,
     (coalesce(new_row, old_row) ->> 'id')::uuid, tg_op, told, changed_columns, old_facets, new_facets,
     millstream.person(), millstream.mutation());
  if old_row is not null and new_row is not null
     and (old_organization is distinct from new_organization or old_person is distinct from new_person) then
    -- The row left one organization or person for another: those it left are told too.
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets, actor_id, mutation_id)
    values
      (old_organization, old_person, tg_table_name, (old_row ->> 'id')::uuid, tg_op, told, changed_columns,
       old_facets, new_facets, millstream.person(), millstream.mutation());
  end if;
  return null;
end
$$;

create function millstream.refuse_truncate() returns trigger
language plpgsql
as $$
begin
  raise exception 'TRUNCATE of the live table % would change rows without telling anybody; use DELETE', tg_table_name;
end
$$;

-- Runs on the parent of a traced child: the child's rows go first, while their organization can still be found.
create function millstream.delete_traced_children() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  execute format('delete from public.%I where %I = $1', tg_argv[0], tg_argv[1]) using old.id;
  return old;
end
$$;

-- Makes a table live. The table has a primary key `id uuid`. Its organization is the column `organization`
-- (`organization_id` where nothing is said), or is found through a parent: `organization_through => 'projects(project_id)'`
-- names the live parent and the column that points to its id. `person` names a column whose person is told wherever
-- that person is. `facets` are the columns that lists are filtered by (ids, text, booleans and integers, on whose
-- equality SQL and Rust cannot disagree). `audience` names a column of people (uuid[]) that narrows who is told.
create function millstream.make_live(
  the_table text,
  organization text default null,
  organization_through text default null,
  person text default null,
  facets text[] default '{}',
  audience text default null
) returns void
language plpgsql
as $$
declare
  parts text[];
  parent text;
  through_column text;
  named text;
  type_of_column regtype;
begin
  if to_regclass('public.' || quote_ident(the_table)) is null then
    raise exception 'make_live: there is no table %', the_table;
  end if;
  if organization_through is not null then
    parts := regexp_match(organization_through, '^(\w+)\((\w+)\)$');
    if parts is null then
      raise exception 'make_live(%): organization_through is %, expected parent(column)', the_table, organization_through;
    end if;
    parent := parts[1];
    through_column := parts[2];
    if not exists (select from millstream.live_tables l where l.table_name = parent) then
      raise exception 'make_live(%): the parent % is not live itself', the_table, parent;
    end if;
  elsif organization is null and person is null then
    organization := 'organization_id';
  end if;
  foreach named in array array_remove(array['id', organization, through_column, person, audience] || facets, null) loop
    select a.atttypid::regtype into type_of_column from pg_attribute a
    where a.attrelid = ('public.' || quote_ident(the_table))::regclass and a.attname = named and a.attnum > 0 and not a.attisdropped;
    if not found then
      raise exception 'make_live(%): there is no column %', the_table, named;
    end if;
    if named = any (array_remove(array['id', organization, through_column, person], null)) and type_of_column <> 'uuid'::regtype then
      raise exception 'make_live(%): column % is %, expected uuid', the_table, named, type_of_column;
    end if;
    if named = audience and type_of_column <> 'uuid[]'::regtype then
      raise exception 'make_live(%): the audience % is %, expected uuid[]', the_table, named, type_of_column;
    end if;
    if named = any (facets) and type_of_column <> all ('{uuid,text,boolean,smallint,integer,bigint}'::regtype[]) then
      raise exception 'make_live(%): facet % is %; equality is proven for uuid, text, boolean and integers only',
        the_table, named, type_of_column;
    end if;
  end loop;

  insert into millstream.live_tables
    (table_name, organization_column, parent_table, parent_column, person_column, audience_column, facets)
  values (the_table, organization, parent, through_column, person, audience, facets);

  execute format(
    'create trigger live_change after insert or update or delete on public.%I
       for each row execute function public.notify_organization_of_table_change()', the_table);
  execute format(
    'create trigger live_truncate before truncate on public.%I execute function millstream.refuse_truncate()', the_table);
  if parent is not null then
    execute format(
      'create trigger %I before delete on public.%I
         for each row execute function millstream.delete_traced_children(%L, %L)',
      'live_children_' || the_table, parent, the_table, through_column);
  end if;
end
$$;

-- What the server asks at start: every live table with whether its triggers are there and enabled.
create view millstream.live_table_state as
select
  l.table_name,
  l.facets,
  (select count(*) = 2 from pg_trigger t
   where t.tgrelid = to_regclass('public.' || quote_ident(l.table_name))
     and t.tgname in ('live_change', 'live_truncate') and t.tgenabled in ('O', 'A'))
  and (l.parent_table is null or exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('public.' || quote_ident(l.parent_table))
      and t.tgname = 'live_children_' || l.table_name and t.tgenabled in ('O', 'A'))) as triggers_stand
from millstream.live_tables l;
grant select on millstream.live_table_state to millstream_app;

---------------------------------------------------------------------------------------------------- mutations
-- One row a mutation, inserted first in its transaction: a repeat waits here for the first and gets its answer.
create table millstream.mutations (
  person_id uuid not null,
  mutation_id uuid not null,
  payload_hash bytea not null,                  -- SHA-256 of operation and arguments: an id is good for one mutation
  xid xid8 default pg_current_xact_id(),        -- null: it changed nothing
  answer jsonb,                                 -- set once, by whoever reads the committed state first
  created_at timestamptz not null default now(),
  primary key (person_id, mutation_id)
);
alter table millstream.mutations enable row level security;
create policy own on millstream.mutations to millstream_app
  using (person_id = millstream.person()) with check (person_id = millstream.person());
grant select, insert, update (xid, answer) on millstream.mutations to millstream_app;
