-- Projects, who works on them and which orders they hold. The two junctions carry no organization: it is traced
-- through the project, and both of their ends must agree.

create table projects (
  id uuid primary key,
  organization_id uuid not null references organizations,
  name text not null check (length(btrim(name)) between 1 and 200),
  created_at timestamptz not null default now(),
  created_by uuid references profiles,
  updated_at timestamptz not null default now(),
  updated_by uuid references profiles
);
create index projects_by_created on projects (organization_id, created_at desc, id desc);

create table project_members (
  id uuid primary key,
  project_id uuid not null references projects on delete cascade,
  person_id uuid not null references profiles,
  created_at timestamptz not null default now(),
  unique (project_id, person_id)
);
create index project_members_person on project_members (person_id);

create table project_orders (
  id uuid primary key,
  project_id uuid not null references projects on delete cascade,
  order_id uuid not null references sales_orders on delete cascade,
  created_at timestamptz not null default now(),
  unique (project_id, order_id)
);
create index project_orders_order on project_orders (order_id);

create trigger stamp_change before insert or update on projects for each row execute function stamp_change();
create function stamp_creator() returns trigger
language plpgsql
as $$
begin
  new.created_by := millstream.person();
  return new;
end
$$;
create trigger stamp_creator before insert on projects for each row execute function stamp_creator();

-- A cross-tenant reference is impossible, also by plain SQL. The rows looked at are locked against leaving meanwhile.
create function agree_on_organization() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  organization uuid;
begin
  select p.organization_id into organization from projects p where p.id = new.project_id for key share;
  if not found then
    raise exception using errcode = 'MS404', message = 'This project does not exist.';
  end if;
  if tg_table_name = 'project_members' then
    perform from memberships m where m.organization_id = organization and m.person_id = new.person_id for key share;
    if not found then
      raise exception using errcode = 'MS422', message = 'This person is not a member of the organization.', column = 'person_id';
    end if;
  else
    perform from sales_orders o where o.organization_id = organization and o.id = new.order_id for key share;
    if not found then
      raise exception using errcode = 'MS422', message = 'This order does not exist in the organization.', column = 'order_id';
    end if;
  end if;
  return new;
end
$$;
create trigger agree_on_organization before insert or update on project_members for each row execute function agree_on_organization();
create trigger agree_on_organization before insert or update on project_orders for each row execute function agree_on_organization();

-- Nor can one end of a junction move away from the other: what belongs to an organization stays there.
create function stay_in_organization() returns trigger
language plpgsql
as $$
begin
  raise exception using errcode = 'MS422', column = 'organization_id',
    message = format('A row of %s stays in its organization.', tg_table_name);
end
$$;
create trigger stay_in_organization before update of organization_id on projects
  for each row when (old.organization_id is distinct from new.organization_id) execute function stay_in_organization();
create trigger stay_in_organization before update of organization_id on sales_orders
  for each row when (old.organization_id is distinct from new.organization_id) execute function stay_in_organization();

-- Who leaves the organization leaves its projects.
create function leave_projects() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  delete from project_members pm using projects p
  where pm.project_id = p.id and p.organization_id = old.organization_id and pm.person_id = old.person_id;
  return old;
end
$$;
create trigger leave_projects before delete on memberships for each row execute function leave_projects();

select millstream.make_live('projects');
select millstream.make_live('project_members', organization_through => 'projects(project_id)', facets => '{project_id,person_id}');
select millstream.make_live('project_orders', organization_through => 'projects(project_id)', facets => '{project_id,order_id}');

alter table projects enable row level security;
alter table project_members enable row level security;
alter table project_orders enable row level security;

create policy see on projects for select to millstream_app
  using (organization_id = any ((select millstream.organizations_where('projects', 'view'))::uuid[]));
create policy make on projects for insert to millstream_app
  with check (organization_id = any ((select millstream.organizations_where('projects', 'create'))::uuid[]));
create policy change on projects for update to millstream_app
  using (organization_id = any ((select millstream.organizations_where('projects', 'update'))::uuid[]));
grant select, insert (id, organization_id, name), update (name) on projects to millstream_app;

create policy see on project_members for select to millstream_app
  using (project_id in (select p.id from projects p));
create policy make on project_members for insert to millstream_app
  with check (project_id in (
    select p.id from projects p where p.organization_id = any ((select millstream.organizations_where('projects', 'update'))::uuid[])));
create policy remove on project_members for delete to millstream_app
  using (project_id in (
    select p.id from projects p where p.organization_id = any ((select millstream.organizations_where('projects', 'update'))::uuid[])));
grant select, insert (id, project_id, person_id), delete on project_members to millstream_app;

create policy see on project_orders for select to millstream_app
  using (project_id in (select p.id from projects p));
create policy make on project_orders for insert to millstream_app
  with check (project_id in (
    select p.id from projects p where p.organization_id = any ((select millstream.organizations_where('projects', 'update'))::uuid[])));
create policy remove on project_orders for delete to millstream_app
  using (project_id in (
    select p.id from projects p where p.organization_id = any ((select millstream.organizations_where('projects', 'update'))::uuid[])));
grant select, insert (id, project_id, order_id), delete on project_orders to millstream_app;

revoke execute on all functions in schema public from public;
