-- What people of the same role see is the same, so that one read can answer all of them.
--
-- Rows name the people who made and changed them. Whether the name of somebody who had left was seen depended on which other
-- organizations one shared with them; now whoever sees an organization's members sees the names of those who were its members too.

create table millstream.former_members (
  organization_id uuid not null references organizations (id) on delete cascade,
  person_id uuid not null references profiles (id) on delete cascade,
  primary key (organization_id, person_id)
);
revoke all on millstream.former_members from public; -- read by millstream.colleagues() alone

create function millstream.remember_member() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  -- Not where the organization or the person goes with it.
  insert into millstream.former_members (organization_id, person_id)
  select o.id, p.id from organizations o, profiles p where o.id = old.organization_id and p.id = old.person_id
  on conflict do nothing;
  return null;
end
$$;
revoke execute on function millstream.remember_member() from public;
create trigger remember_member after delete on memberships for each row execute function millstream.remember_member();

-- Those who had left before.
insert into millstream.former_members (organization_id, person_id)
select distinct named.organization_id, named.person_id
from (
  select o.organization_id, unnest(array[o.created_by, o.updated_by, o.assignee_id]) from sales_orders o
  union all select l.organization_id, l.updated_by from sales_order_lines l
  union all select p.organization_id, p.updated_by from projects p
  union all select p.organization_id, m.person_id from project_members m join projects p on p.id = m.project_id
) as named (organization_id, person_id)
where named.person_id is not null
  and not exists (
    select from memberships m where m.organization_id = named.organization_id and m.person_id = named.person_id);

create or replace function millstream.colleagues() returns uuid[]
language plpgsql stable security definer set search_path = public, pg_temp
as $$
declare
  seen uuid[] := millstream.organizations_where('members', 'view');
begin
  return (
    select coalesce(array_agg(person_id), '{}') from (
      select m.person_id from memberships m where m.organization_id = any (seen)
      union select f.person_id from millstream.former_members f where f.organization_id = any (seen)) as people);
end
$$;

-- Two people of equal sight in an organization are answered alike there, whatever they read; null where a person is answered for
-- themselves alone: who is no member, sees only part of it (a customer's buyer), or does not see who else is there.
create function millstream.sight(of_person uuid, in_organization uuid) returns text
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (
    select m.role
    from memberships m
    join role_permissions p on p.role = m.role and p.module = 'members' and p.can_view
    where m.person_id = of_person and m.organization_id = in_organization and m.role not in ('buyer', 'supplier'));
end
$$;
revoke execute on function millstream.sight(uuid, uuid) from public;
grant execute on function millstream.sight(uuid, uuid) to millstream_app;
