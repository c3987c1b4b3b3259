-- An event costs its commit less. What events say has not changed.

-- A text that only this schema's own functions write was checked by parsing the check anew for every row.
alter table public.realtime_table_events drop constraint realtime_table_events_event_type_check;

-- Numbers are taken by the handful: 32 writers met at the sequence's page. So they rise within a session only, and the order of
-- events is that of `created_at`, with the number between those of one moment.
alter table public.realtime_table_events alter column id set cache 64;

-- SQL for "this column differs between the old and the new version of the row" (its name quoted, with a cast where it needs one):
-- `is distinct from` would look for its operator on the caller's search path.
create function millstream.differs(its_column text, is_nullable boolean) returns text
language sql immutable strict parallel safe
return format(
  case when is_nullable then '(old.%1$s operator(pg_catalog.<>) new.%1$s or (old.%1$s is null) operator(pg_catalog.<>) (new.%1$s is null))'
  else 'old.%1$s operator(pg_catalog.<>) new.%1$s' end, its_column);

-- The body of a live table's trigger function, from what `make_live` was told and the table's columns. It says of every name
-- where it is from, for the function has no search path of its own: to set one and back took a fifth of what the trigger takes.
-- And it has few expressions, each of which PL/pgSQL prepares anew in every transaction.
create or replace function millstream.live_trigger_body(the_table text) returns text
language plpgsql stable
as $$
declare
  live millstream.live_tables;
  whose text;              -- SQL for the organization of a version of the row: %1$s stands for `old` or `new`
  person text;             -- and for its person
  declared text := '';
  find_old text := '';     -- statements that find the organization, where that takes more than naming a column
  find_new text := '';
  owner text;              -- SQL for what is null where a version belongs to nobody
  has_moved text;
  facets text := 'null';
  audience text := 'null';
  update_audience text := 'null';
  changed text;            -- SQL for the columns that changed
begin
  select * into live from millstream.live_tables l where l.table_name = the_table;
  if not found then
    return null;
  end if;
  if live.organization_column is not null then
    whose := '%1$s.' || quote_ident(live.organization_column);
  elsif live.parent_table is not null then
    whose := '%1$s_organization';
    declared := E'declare\n  old_organization pg_catalog.uuid;\n  new_organization pg_catalog.uuid;\n';
    find_old := format('old_organization := public.get_organization_id_for_change(%L, pg_catalog.to_jsonb(old));', the_table);
    find_new := format('new_organization := public.get_organization_id_for_change(%L, pg_catalog.to_jsonb(new));', the_table);
  end if;
  person := '%1$s.' || quote_ident(live.person_column);
  -- Of the two, one is always there, and a table has seldom both.
  owner := case when whose is null then person when person is null then whose else format('coalesce(%s, %s)', whose, person) end;
  has_moved := concat_ws(' or ',
    millstream.differs(quote_ident(live.organization_column), true),
    case when live.parent_table is not null then
      'old_organization operator(pg_catalog.<>) new_organization' end, -- what has a parent has an organization
    millstream.differs(quote_ident(live.person_column), true));
  whose := coalesce(whose, 'null::pg_catalog.uuid');
  person := coalesce(person, 'null::pg_catalog.uuid');
  if cardinality(live.facets) > 0 then
    select 'pg_catalog.jsonb_build_object(' || string_agg(format('%L, %%1$s.%I', facet, facet), ', ') || ')' into facets
    from unnest(live.facets) facet;
  end if;
  if live.audience_column is not null then
    audience := '%1$s.' || quote_ident(live.audience_column);
    -- A version without an audience was or is for everybody, and so is the news of it. Nobody is an audience too.
    update_audience := format(
      'case when old.%1$I is not null and new.%1$I is not null then
        array(select distinct reader from pg_catalog.unnest(old.%1$I operator(pg_catalog.||) new.%1$I) reader) end',
      live.audience_column);
  end if;
  -- A type that has no order of PostgreSQL's own may know no equality either: its columns are compared as text.
  select format('pg_catalog.array_remove(array[%s]::pg_catalog.text[], null)', string_agg(
      format('case when %s then %L end', millstream.differs(its.sql, its.is_nullable), its.attname),
      ', ' order by its.attnum))
    into changed
  from (
    select a.attnum, a.attname, not a.attnotnull as is_nullable, quote_ident(a.attname) || case when exists (
        select from pg_opclass c join pg_am m on m.oid = c.opcmethod
        where m.amname = 'btree' and c.opcdefault and c.opcintype = a.atttypid
          and c.opcnamespace = 'pg_catalog'::regnamespace) then '' else '::pg_catalog.text' end as sql
    from pg_attribute a
    where a.attrelid = to_regclass('public.' || quote_ident(the_table)) and a.attnum > 0 and not a.attisdropped) its;

  return format($body$
%15$sbegin
  -- A commit that was told and then lost in a crash would let its transaction id come back under another change.
  if pg_catalog.current_setting('synchronous_commit') operator(pg_catalog.=) 'off' then
    perform pg_catalog.set_config('synchronous_commit', 'on', true);
  end if;
  if tg_op operator(pg_catalog.=) 'UPDATE' then
    if old operator(pg_catalog.*=) new then
      return null; -- an update that changes nothing is no change
    end if;
    %16$s
    %17$s
    if coalesce(%13$s, %12$s) is null then
      raise exception 'a change of %% %% belongs to no organization and no person', tg_table_name, new.id;
    end if;
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets, actor_id, mutation_id)
    values
      (coalesce(%3$s, %2$s), coalesce(%5$s, %4$s), %1$L, new.id, 'UPDATE',
       %10$s, %11$s, %6$s, %7$s, millstream.person(), millstream.mutation());
    if %14$s then
      -- The row left one organization or person for another: those it left are told too.
      insert into public.realtime_table_events
        (organization_id, person_id, table_name, record_id, event_type, audience, changed, old_facets, new_facets, actor_id, mutation_id)
      values
        (%2$s, %4$s, %1$L, old.id, 'UPDATE',
         %10$s, %11$s, %6$s, %7$s, millstream.person(), millstream.mutation());
    end if;
  elsif tg_op operator(pg_catalog.=) 'INSERT' then
    %17$s
    if %13$s is null then
      raise exception 'a change of %% %% belongs to no organization and no person', tg_table_name, new.id;
    end if;
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, new_facets, actor_id, mutation_id)
    values
      (%3$s, %5$s, %1$L, new.id, 'INSERT', %9$s, %7$s, millstream.person(), millstream.mutation());
  else
    %16$s
    if %12$s is null then
      raise exception 'a change of %% %% belongs to no organization and no person', tg_table_name, old.id;
    end if;
    insert into public.realtime_table_events
      (organization_id, person_id, table_name, record_id, event_type, audience, old_facets, actor_id, mutation_id)
    values
      (%2$s, %4$s, %1$L, old.id, 'DELETE', %8$s, %6$s, millstream.person(), millstream.mutation());
  end if;
  return null;
end
$body$,
    the_table, format(whose, 'old'), format(whose, 'new'), format(person, 'old'), format(person, 'new'),
    format(facets, 'old'), format(facets, 'new'), format(audience, 'old'), format(audience, 'new'),
    update_audience, changed, format(owner, 'old'), format(owner, 'new'), has_moved, declared, find_old, find_new);
end
$$;

-- As before, but that the functions have no search path.
create or replace function millstream.refresh_live_tables() returns text[]
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
    execute format('create or replace function millstream_live.%I() returns trigger language plpgsql security definer as %L',
      the_table, millstream.live_trigger_body(the_table));
    written := written || the_table;
  end loop;
  return written;
end
$$;

select millstream.refresh_live_tables();
