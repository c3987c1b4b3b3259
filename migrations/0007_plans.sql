-- What each request costs the database.
--
-- Rights are asked several times a request: by `require`, and by the policy of each table that a statement names. PostgreSQL
-- plans the body of an SQL function that it cannot inline (and one with its own rights it never inlines) anew in each
-- statement: a sixth of a millisecond, most of what a statement of ours cost. PL/pgSQL keeps the plans of a
-- connection, and the same functions cost a tenth. They give what they gave.

create or replace function millstream.organizations_where(in_module text, action text) returns uuid[]
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (
    select coalesce(array_agg(m.organization_id), '{}')
    from memberships m
    join role_permissions p on p.role = m.role and p.module = in_module
    where m.person_id = millstream.person()
      and m.role not in ('buyer', 'supplier')
      and case action when 'view' then p.can_view when 'create' then p.can_create
                      when 'update' then p.can_update when 'delete' then p.can_delete end
  );
end
$$;

create or replace function millstream.bound_customers(in_module text) returns uuid[]
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (
    select coalesce(array_agg(m.customer_id), '{}')
    from memberships m
    join role_permissions p on p.role = m.role and p.module = in_module
    where m.person_id = millstream.person() and m.role = 'buyer' and m.customer_id is not null and p.can_view
  );
end
$$;

create or replace function millstream.my_organizations() returns uuid[]
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (select coalesce(array_agg(m.organization_id), '{}') from memberships m where m.person_id = millstream.person());
end
$$;

create or replace function millstream.colleagues() returns uuid[]
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (
    select coalesce(array_agg(distinct m.person_id), '{}') from memberships m
    where m.organization_id = any ((select millstream.organizations_where('members', 'view'))::uuid[])
  );
end
$$;

create or replace function millstream.role_in(organization uuid) returns text
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (select m.role from memberships m where m.organization_id = organization and m.person_id = millstream.person());
end
$$;

create or replace function millstream.may(in_organization uuid, in_module text, action text) returns boolean
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (
    select case action when 'view' then p.can_view when 'create' then p.can_create
                       when 'update' then p.can_update when 'delete' then p.can_delete end
    from memberships m
    join role_permissions p on p.role = m.role and p.module = in_module
    where m.person_id = millstream.person() and m.organization_id = in_organization
  );
end
$$;

create or replace function session_of(token bytea) returns table (session_id uuid, person_id uuid, email text, name text)
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return query
    select s.id, p.id, p.email, p.name
    from sessions s join profiles p on p.id = s.person_id
    where s.token_hash = token and s.expires_at > now();
end
$$;

-- The beginning of a mutation in one statement: whose it is, and its row. False where it is known already; a second
-- sending waits here for the first to commit or to fail.
create function millstream.begin_mutation(person uuid, mutation uuid, hash bytea) returns boolean
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true), set_config('millstream.mutation', mutation::text, true);
  insert into millstream.mutations (person_id, mutation_id, payload_hash) values (person, mutation, hash)
  on conflict do nothing;
  return found;
end
$$;

-- Stores a mutation's answer in a transaction of its own, unless another sending stored its own first: then gives that.
-- Losing it in a crash costs nothing, for the next sending reads and stores again: so nobody waits for the disk.
create function millstream.store_answer(person uuid, mutation uuid, given jsonb) returns jsonb
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true), set_config('synchronous_commit', 'off', true);
  update millstream.mutations m set answer = given
  where m.person_id = person and m.mutation_id = mutation and m.answer is null;
  if found then
    return null;
  end if;
  return (select m.answer from millstream.mutations m where m.person_id = person and m.mutation_id = mutation);
end
$$;
