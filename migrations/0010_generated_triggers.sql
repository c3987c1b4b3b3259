-- Each live table has a trigger function written for it. One that serves all tables has to take every row apart as JSON and
-- ask what was declared: it cost twice as much. What the events say has not changed.

-- The functions, named as their tables are: nothing else lies here.
create schema millstream_live;

-- The body of a live table's trigger function, from what `make_live` was told and the table's columns.
create function millstream.live_trigger_body(the_table text) returns text
language plpgsql stable
as $$
declare
  live millstream.live_tables;
  whose text;            -- SQL for the organization of a version of the row: %1$s stands for `old` or `new`
  person text := 'null';
  facets text := 'null';
  audience text := 'null';
  is_told text := 'null'; -- SQL for the columns that changed
  update_audience text := 'null';
begin
  select * into live from millstream.live_tables l where l.table_name = the_table;
  if not found then
    return null;
  end if;
  whose := case
    when live.organization_column is not null then '%1$s.' || quote_ident(live.organization_column)
    when live.parent_table is not null then
      format('public.get_organization_id_for_change(%L, to_jsonb(%%1$s))', the_table)
    else 'null' end;
  if live.person_column is not null then
    person := '%1$s.' || quote_ident(live.person_column);
  end if;
  if cardinality(live.facets) > 0 then
    select 'jsonb_build_object(' || string_agg(format('%L, %%1$s.%I', facet, facet), ', ') || ')' into facets
    from unnest(live.facets) facet;
  end if;
  if live.audience_column is not null then
    audience := '%1$s.' || quote_ident(live.audience_column);
    -- A version without an audience was or is for everybody, and so is the news of it. Nobody is an audience too.
    update_audience := format(
      'case when old.%1$I is not null and new.%1$I is not null then
        array(select distinct reader from unnest(old.%1$I || new.%1$I) reader) end', live.audience_column);
  end if;
  -- A type that has no order of its own may know no equality either: its columns are compared as text.
  select format('array_remove(array[%s], null)', string_agg(
      format('case when old.%1$I%3$s is distinct from new.%1$I%3$s then %2$L end', a.attname, a.attname,
        case when exists (
          select from pg_opclass c join pg_am m on m.oid = c.opcmethod
          where m.amname = 'btree' and c.opcdefault and c.opcintype = a.atttypid) then '' else '::text' end),
      ', ' order by a.attnum))
    into is_told
  from pg_attribute a
  where a.attrelid = to_regclass('public.' || quote_ident(the_table)) and a.attnum > 0 and not a.attisdropped;

  return format($body$
declare
  old_organization uuid;
  new_organization uuid;
  old_person uuid;
  new_person uuid;
begin
  -- A commit that was told and then lost in a crash would let its transaction id come back under another change.
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  if tg_op = 'UPDATE' then
    if old *= new then
      return null; -- an update that changes nothing is no change
    end if;
    old_organization := %2$s;
    new_organization := %3$s;
    old_person := %4$s;
    new_person := %5$s;
    if coalesce(old_organization, new_organization, old_person, new_person) is null then
      raise exception 'a change of %% %% belongs to no organization and no person', tg_table_name, new.id;
    end if;
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets, actor_id, mutation_id)
    values
      (coalesce(new_organization, old_organization), coalesce(new_person, old_person), %1$L, new.id, 'UPDATE',
       %10$s, %11$s, %6$s, %7$s, millstream.person(), millstream.mutation());
    if old_organization is distinct from new_organization or old_person is distinct from new_person then
      -- The row left one organization or person for another: those it left are told too.
      insert into public.realtime_table_events
        (organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets, actor_id, mutation_id)
      values
        (old_organization, old_person, %1$L, old.id, 'UPDATE',
         %10$s, %11$s, %6$s, %7$s, millstream.person(), millstream.mutation());
    end if;
  elsif tg_op = 'INSERT' then
    new_organization := %3$s;
    new_person := %5$s;
    if coalesce(new_organization, new_person) is null then
      raise exception 'a change of %% %% belongs to no organization and no person', tg_table_name, new.id;
    end if;
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, new_facets, actor_id, mutation_id)
    values
      (new_organization, new_person, %1$L, new.id, 'INSERT', %9$s, %7$s, millstream.person(), millstream.mutation());
  else
    old_organization := %2$s;
    old_person := %4$s;
    if coalesce(old_organization, old_person) is null then
      raise exception 'a change of %% %% belongs to no organization and no person', tg_table_name, old.id;
    end if;
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, old_facets, actor_id, mutation_id)
    values
      (old_organization, old_person, %1$L, old.id, 'DELETE', %8$s, %6$s, millstream.person(), millstream.mutation());
  end if;
  return null;
end
$body$,
    the_table, format(whose, 'old'), format(whose, 'new'), format(person, 'old'), format(person, 'new'),
    format(facets, 'old'), format(facets, 'new'), format(audience, 'old'), format(audience, 'new'),
    update_audience, is_told);
end
$$;

-- Writes the trigger functions anew whose tables have other columns than when they were written, and gives their names. The
-- server calls it at each start, after the migrations; whoever changes a table by hand calls it too.
create function millstream.refresh_live_tables() returns text[]
language plpgsql
as $$
declare
  the_table text;
  written text[] := '{}';
begin
  perform pg_advisory_xact_lock(hashtext('millstream.refresh_live_tables'));
  for the_table in
    select l.table_name from millstream.live_tables l
    where not exists (
      select from pg_proc f
      where f.pronamespace = 'millstream_live'::regnamespace and f.proname = l.table_name
        and f.prosrc = millstream.live_trigger_body(l.table_name))
    order by l.table_name
  loop
    execute format(
      'create or replace function millstream_live.%I() returns trigger
         language plpgsql security definer set search_path = pg_catalog, pg_temp as %L',
      the_table, millstream.live_trigger_body(the_table));
    written := written || the_table;
  end loop;
  return written;
end
$$;
revoke execute on function millstream.refresh_live_tables() from public;

-- What `make_live` does when all has been checked.
create function millstream.set_live_triggers(the_table text) returns void
language plpgsql
as $$
declare
  live millstream.live_tables;
begin
  select * into strict live from millstream.live_tables l where l.table_name = the_table;
  perform millstream.refresh_live_tables();
  execute format('drop trigger if exists live_change on public.%I', the_table);
  execute format(
    'create trigger live_change after insert or update or delete on public.%I
       for each row execute function millstream_live.%I()', the_table, the_table);
  execute format('drop trigger if exists live_truncate on public.%I', the_table);
  execute format(
    'create trigger live_truncate before truncate on public.%I execute function millstream.refuse_truncate()', the_table);
  if live.parent_table is not null then
    execute format('drop trigger if exists %I on public.%I', 'live_children_' || the_table, live.parent_table);
    execute format(
      'create trigger %I before delete on public.%I
         for each row execute function millstream.delete_traced_children(%L, %L)',
      'live_children_' || the_table, live.parent_table, the_table, live.parent_column);
  end if;
end
$$;
revoke execute on function millstream.set_live_triggers(text) from public;

-- Makes a table live. The table has a primary key `id uuid`. Its organization is the column `organization`
-- (`organization_id` where nothing is said), or is found through a parent: `organization_through => 'projects(project_id)'`
-- names the live parent and the column that points to its id. `person` names a column whose person is told wherever
-- that person is. `facets` are the columns that lists are filtered by (ids, text, booleans and integers, on whose
-- equality SQL and Rust cannot disagree). `audience` names a column of people (uuid[]) that narrows who is told.
create or replace function millstream.make_live(
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

  perform millstream.set_live_triggers(the_table);
end
$$;

-- What the server asks at start: every live table with whether its triggers are there, enabled, and written for the columns it has.
create or replace view millstream.live_table_state as
select
  l.table_name,
  l.facets,
  (select count(*) = 2 from pg_trigger t
   where t.tgrelid = to_regclass('public.' || quote_ident(l.table_name))
     and t.tgname in ('live_change', 'live_truncate') and t.tgenabled in ('O', 'A'))
  and exists (
    select from pg_trigger t join pg_proc f on f.oid = t.tgfoid
    where t.tgrelid = to_regclass('public.' || quote_ident(l.table_name)) and t.tgname = 'live_change'
      and f.pronamespace = 'millstream_live'::regnamespace and f.prosrc = millstream.live_trigger_body(l.table_name))
  and (l.parent_table is null or exists (
    select from pg_trigger t
    where t.tgrelid = to_regclass('public.' || quote_ident(l.parent_table))
      and t.tgname = 'live_children_' || l.table_name and t.tgenabled in ('O', 'A'))) as triggers_stand
from millstream.live_tables l;


select millstream.set_live_triggers(l.table_name) from millstream.live_tables l order by l.table_name;
drop function public.notify_organization_of_table_change();
drop function millstream.facets_of(text[], jsonb);
