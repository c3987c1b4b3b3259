-- What is deleted can be brought back for thirty days. A deleted record lies in the trash as it was, its children beside
-- it, out of reach of every request; what it takes to put it back stands with its table.

---------------------------------------------------------------------------------------------------- the mechanism
-- One row a deleted record. No live table, and nobody's to read: only the functions below come to it.
create table millstream.trash (
  organization_id uuid not null,
  table_name text not null,
  record_id uuid not null,
  record jsonb not null,                             -- the row as it was
  children jsonb not null,                           -- {"table": [row, …]} of what went with it
  deleted_at timestamptz not null default now(),
  -- The organization is part of it: an id is free again once its record is gone, also for others.
  primary key (organization_id, table_name, record_id)
);
create index trash_by_age on millstream.trash (deleted_at);
alter table millstream.trash enable row level security;

create function millstream.kept_in_trash() returns interval
language sql immutable parallel safe
return interval '30 days';

-- The trigger's arguments are pairs: a table of children, and its column that points to the record.
create function millstream.put_in_trash() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  old_row jsonb := to_jsonb(old);
  kept jsonb := '{}';
  rows_of_child jsonb;
begin
  for place in 0 .. tg_nargs - 1 by 2 loop
    -- Locked, so that they are kept as they are when they go.
    execute format(
      'select coalesce(jsonb_agg(to_jsonb(c)), ''[]'') from (select * from public.%I where %I = $1 for update) c',
      tg_argv[place], tg_argv[place + 1]) into rows_of_child using old.id;
    kept := kept || jsonb_build_object(tg_argv[place], rows_of_child);
  end loop;
  insert into millstream.trash (organization_id, table_name, record_id, record, children)
  values (public.get_organization_id_for_change(tg_table_name, old_row), tg_table_name, old.id, old_row, kept)
  on conflict (organization_id, table_name, record_id)
    do update set record = excluded.record, children = excluded.children, deleted_at = excluded.deleted_at;
  return old;
end
$$;

-- Keeps deleted rows of a live table, whatever deletes them. `children` are the tables whose rows go with a record, each
-- with the column that points to it: '{sales_order_lines(order_id)}'.
create function millstream.keep_in_trash(the_table text, children text[] default '{}') returns void
language plpgsql
as $$
declare
  child text;
  parts text[];
  arguments text[] := '{}';
begin
  if not exists (select from millstream.live_tables l where l.table_name = the_table) then
    raise exception 'keep_in_trash: the table % is not live', the_table;
  end if;
  foreach child in array children loop
    parts := regexp_match(child, '^(\w+)\((\w+)\)$');
    if parts is null then
      raise exception 'keep_in_trash(%): a child is %, expected table(column)', the_table, child;
    end if;
    if not exists (
      select from pg_attribute a
      where a.attrelid = to_regclass('public.' || quote_ident(parts[1])) and a.attname = parts[2] and not a.attisdropped
    ) then
      raise exception 'keep_in_trash(%): there is no column %', the_table, child;
    end if;
    arguments := arguments || quote_literal(parts[1]) || quote_literal(parts[2]);
  end loop;
  -- Triggers go by their names: this one comes before live_children_…, which deletes what it has to keep.
  execute format(
    'create trigger keep_in_trash before delete on public.%I for each row execute function millstream.put_in_trash(%s)',
    the_table, array_to_string(arguments, ', '));
end
$$;

-- Takes a record out of the trash; a second one that wants it waits, and then finds none. Null where there is none.
create function millstream.take_from_trash(organization uuid, from_table text, wanted uuid) returns millstream.trash
language sql volatile set search_path = pg_catalog, pg_temp
begin atomic
  delete from millstream.trash t
  where t.organization_id = organization and t.table_name = from_table and t.record_id = wanted
    and t.deleted_at > now() - millstream.kept_in_trash()
  returning t.*;
end;

-- Inserts rows as they were. Columns that the table has got since then have their defaults, those that it has lost stay
-- away: the trash outlives migrations.
create function millstream.put_back(to_table text, of_rows jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  columns text;
begin
  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into columns
  from pg_attribute a
  where a.attrelid = ('public.' || quote_ident(to_table))::regclass and a.attnum > 0 and not a.attisdropped
    and a.attgenerated = '' and of_rows -> 0 ? a.attname;
  if columns is not null then -- there are rows
    execute format(
      'insert into public.%1$I (%2$s) select %2$s from jsonb_populate_recordset(null::public.%1$I, $1)', to_table, columns)
      using of_rows;
  end if;
end
$$;

-- Of the rows of a junction that came out of the trash with one of their ends, those whose other end is there; it may not
-- go now. Where that end lies in the trash too, the row waits there for it: either end may come back first. The rest is
-- gone for good.
create function millstream.links_that_stand(organization uuid, junction text, links jsonb, to_table text, to_column text)
returns jsonb
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
  link jsonb;
  other_end uuid;
  is_there boolean;
  standing jsonb := '[]';
begin
  for link in select value from jsonb_array_elements(links) order by value ->> to_column loop
    other_end := (link ->> to_column)::uuid;
    for attempt in 1 .. 2 loop -- an end that is restored at the same moment is found neither here nor there at first
      execute format('select true from public.%I where organization_id = $1 and id = $2 for key share', to_table)
        into is_there using organization, other_end;
      if is_there then
        standing := standing || jsonb_build_array(link);
        exit;
      end if;
      update millstream.trash t
      set children = jsonb_set(t.children, array[junction], (t.children -> junction) || jsonb_build_array(link))
      where t.organization_id = organization and t.table_name = to_table and t.record_id = other_end;
      exit when found;
    end loop;
  end loop;
  return standing;
end
$$;

-- The server calls it at start and every hour.
create function millstream.empty_trash() returns void
language sql volatile set search_path = pg_catalog, pg_temp
begin atomic
  delete from millstream.trash where deleted_at <= now() - millstream.kept_in_trash();
end;

revoke execute on function
  millstream.put_in_trash(), millstream.keep_in_trash(text, text[]), millstream.take_from_trash(uuid, text, uuid),
  millstream.put_back(text, jsonb), millstream.links_that_stand(uuid, text, jsonb, text, text), millstream.empty_trash()
from public;

---------------------------------------------------------------------------------------------------- orders
select millstream.keep_in_trash('sales_orders', children => '{sales_order_lines(order_id),project_orders(order_id)}');

-- Who made a row is a default, so that a row that is put back says itself who made it, and that may be nobody. Requests
-- cannot say it: their grants do not name the column.
alter table sales_orders alter created_by set default millstream.person();

create or replace function number_sales_order() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  new.number := coalesce(new.number, next_number(new.organization_id, 'sales_order'));
  return new;
end
$$;

-- Brings a deleted order back: itself, its lines, and its places in those projects that still exist (in one that lies in
-- the trash as well it is again when that one comes back). It is a change by who restores it, and needs the right to delete: the two undo each other. False where the order is there already.
create function restore_sales_order(organization uuid, wanted uuid) returns boolean
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  kept millstream.trash;
begin
  if (organization = any (millstream.organizations_where('sales', 'delete'))) is not true then
    raise exception using errcode = 'MS403', message = 'You may not restore orders here.';
  end if;
  if exists (select from sales_orders o where o.organization_id = organization and o.id = wanted) then
    return false;
  end if;
  kept := millstream.take_from_trash(organization, 'sales_orders', wanted);
  if kept.record_id is null then
    if exists (select from sales_orders o where o.organization_id = organization and o.id = wanted) then
      return false; -- somebody else was quicker
    end if;
    raise exception using errcode = 'MS404', message = 'There is no such deleted order, or it was deleted too long ago.';
  end if;

  -- What it refers to may have gone meanwhile, and may not go now. An order without a customer cannot be; assignments
  -- end with the membership.
  perform from customers c
  where c.organization_id = organization and c.id = (kept.record ->> 'customer_id')::uuid for key share;
  if not found then
    raise exception using errcode = 'MS422', message = 'The customer of this order no longer exists.', column = 'customer_id';
  end if;
  perform from memberships m
  where m.organization_id = organization and m.person_id = (kept.record ->> 'assignee_id')::uuid for key share;
  if not found then
    kept.record := kept.record || '{"assignee_id": null}';
  end if;
  perform millstream.put_back('sales_orders', jsonb_build_array(kept.record));
  perform millstream.put_back('sales_order_lines', kept.children -> 'sales_order_lines');
  perform millstream.put_back('project_orders', millstream.links_that_stand(
    organization, 'project_orders', kept.children -> 'project_orders', 'projects', 'project_id'));
  return true;
end
$$;

---------------------------------------------------------------------------------------------------- projects
alter table projects add column archived boolean not null default false;
-- The list is of the current ones or of the archived ones: a facet, and the index goes by it.
update millstream.live_tables set facets = '{archived}' where table_name = 'projects';
drop index projects_by_created;
create index projects_by_created on projects (organization_id, archived, created_at desc, id desc);
grant update (archived) on projects to millstream_app;

create policy remove on projects for delete to millstream_app
  using (organization_id = any ((select millstream.organizations_where('projects', 'delete'))::uuid[]));
grant delete on projects to millstream_app;

select millstream.keep_in_trash('projects', children => '{project_members(project_id),project_orders(project_id)}');

alter table projects alter created_by set default millstream.person();
drop trigger stamp_creator on projects;
drop function stamp_creator();

-- The same for a project: with the members who still are members of the organization, and the orders that still exist.
create function restore_project(organization uuid, wanted uuid) returns boolean
language plpgsql volatile security definer set search_path = public, pg_temp
as $$
declare
  kept millstream.trash;
  people jsonb;
begin
  if (organization = any (millstream.organizations_where('projects', 'delete'))) is not true then
    raise exception using errcode = 'MS403', message = 'You may not restore projects here.';
  end if;
  if exists (select from projects p where p.organization_id = organization and p.id = wanted) then
    return false;
  end if;
  kept := millstream.take_from_trash(organization, 'projects', wanted);
  if kept.record_id is null then
    if exists (select from projects p where p.organization_id = organization and p.id = wanted) then
      return false; -- somebody else was quicker
    end if;
    raise exception using errcode = 'MS404', message = 'There is no such deleted project, or it was deleted too long ago.';
  end if;
  perform millstream.put_back('projects', jsonb_build_array(kept.record));

  perform from memberships m
  where m.organization_id = organization
    and m.person_id in (select (one ->> 'person_id')::uuid from jsonb_array_elements(kept.children -> 'project_members') one)
  order by m.id for key share;
  select jsonb_agg(one) into people
  from jsonb_array_elements(kept.children -> 'project_members') one
  where exists (
    select from memberships m where m.organization_id = organization and m.person_id = (one ->> 'person_id')::uuid);
  perform millstream.put_back('project_members', people);
  perform millstream.put_back('project_orders', millstream.links_that_stand(
    organization, 'project_orders', kept.children -> 'project_orders', 'sales_orders', 'order_id'));
  return true;
end
$$;

revoke execute on function restore_sales_order(uuid, uuid), restore_project(uuid, uuid) from public;
grant execute on function restore_sales_order(uuid, uuid), restore_project(uuid, uuid) to millstream_app;
