-- Who there is and who may do what: profiles, organizations and the role catalogue (global tables, without a channel),
-- memberships, invitations and sessions (live).

create table profiles (
  id uuid primary key,
  email text not null check (length(email) between 3 and 254 and email = lower(email)),
  name text not null check (length(btrim(name)) between 1 and 100),
  created_at timestamptz not null default now()
);
create unique index profiles_email on profiles (email);

-- Apart from the profile, so that no query over people can ever carry one along.
create table credentials (
  person_id uuid primary key references profiles on delete cascade,
  password_hash text not null
);

create table organizations (
  id uuid primary key,
  name text not null check (length(btrim(name)) between 1 and 100),
  created_at timestamptz not null default now()
);

create table role_permissions (
  role text not null check (role in ('owner', 'admin', 'planner', 'sales', 'operator', 'viewer', 'buyer', 'supplier')),
  module text not null check (module in ('organization', 'members', 'customers', 'sales', 'projects')),
  can_view boolean not null,
  can_create boolean not null,
  can_update boolean not null,
  can_delete boolean not null,
  primary key (role, module)
);
insert into role_permissions (role, module, can_view, can_create, can_update, can_delete) values
  ('owner',    'organization', true,  true,  true,  true),
  ('owner',    'members',      true,  true,  true,  true),
  ('owner',    'customers',    true,  true,  true,  true),
  ('owner',    'sales',        true,  true,  true,  true),
  ('owner',    'projects',     true,  true,  true,  true),
  ('admin',    'organization', true,  true,  true,  false),
  ('admin',    'members',      true,  true,  true,  true),
  ('admin',    'customers',    true,  true,  true,  true),
  ('admin',    'sales',        true,  true,  true,  true),
  ('admin',    'projects',     true,  true,  true,  true),
  ('planner',  'organization', true,  false, false, false),
  ('planner',  'members',      true,  false, false, false),
  ('planner',  'customers',    true,  true,  true,  false),
  ('planner',  'sales',        true,  true,  true,  true),
  ('planner',  'projects',     true,  true,  true,  true),
  ('sales',    'organization', true,  false, false, false),
  ('sales',    'members',      true,  false, false, false),
  ('sales',    'customers',    true,  true,  true,  true),
  ('sales',    'sales',        true,  true,  true,  true),
  ('sales',    'projects',     true,  true,  true,  false),
  ('operator', 'organization', true,  false, false, false),
  ('operator', 'members',      true,  false, false, false),
  ('operator', 'customers',    true,  false, false, false),
  ('operator', 'sales',        true,  false, false, false),
  ('operator', 'projects',     true,  false, false, false),
  ('viewer',   'organization', true,  false, false, false),
  ('viewer',   'members',      true,  false, false, false),
  ('viewer',   'customers',    true,  false, false, false),
  ('viewer',   'sales',        true,  false, false, false),
  ('viewer',   'projects',     true,  false, false, false),
  ('buyer',    'organization', true,  false, false, false),
  ('buyer',    'members',      false, false, false, false),
  ('buyer',    'customers',    true,  false, false, false),
  ('buyer',    'sales',        true,  false, false, false),
  ('buyer',    'projects',     false, false, false, false),
  ('supplier', 'organization', true,  false, false, false),
  ('supplier', 'members',      false, false, false, false),
  ('supplier', 'customers',    false, false, false, false),
  ('supplier', 'sales',        false, false, false, false),
  ('supplier', 'projects',     false, false, false, false);

create table memberships (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references organizations,
  person_id uuid not null references profiles,
  role text not null check (role in ('owner', 'admin', 'planner', 'sales', 'operator', 'viewer', 'buyer', 'supplier')),
  customer_id uuid, -- what a buyer is bound to; its reference is added where customers are made
  created_at timestamptz not null default now(),
  unique (organization_id, person_id),
  check (customer_id is null or role = 'buyer')
);
create index memberships_person on memberships (person_id);

create table invitations (
  id uuid primary key,
  organization_id uuid not null references organizations,
  role text not null check (role in ('owner', 'admin', 'planner', 'sales', 'operator', 'viewer', 'buyer', 'supplier')),
  customer_id uuid,
  token_hash bytea not null unique, -- SHA-256; the link itself is shown once and kept nowhere
  invited_by uuid not null references profiles,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '7 days',
  accepted_by uuid references profiles,
  check (customer_id is null or role = 'buyer')
);
create index invitations_organization on invitations (organization_id);

create table sessions (
  id uuid primary key default gen_random_uuid(),
  person_id uuid not null references profiles on delete cascade,
  token_hash bytea not null unique, -- SHA-256 of the cookie's 256 random bits
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index sessions_person on sessions (person_id);

select millstream.make_live('memberships', organization => 'organization_id', person => 'person_id', facets => '{person_id}');
select millstream.make_live('invitations', facets => '{role}');
select millstream.make_live('sessions', person => 'person_id');

-- The catalogue has no organization, but everybody's rights hang on it: one event without a scope, which every hub
-- takes as "rights changed" for all.
create function millstream.tell_role_catalogue() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  insert into public.realtime_table_events (table_name, record_id, event_type, actor_id)
  values ('role_permissions', '00000000-0000-0000-0000-000000000000', 'UPDATE', millstream.person());
  return null;
end
$$;
create trigger tell_role_catalogue after insert or update or delete or truncate on role_permissions
  for each statement execute function millstream.tell_role_catalogue();

---------------------------------------------------------------------------------------------------- rights
-- All of these are evaluated once a statement (policies call them in a scalar subquery), not once a row.

-- Organizations in which the person may do this as an insider, seeing all of the module.
create function millstream.organizations_where(in_module text, action text) returns uuid[]
language sql stable security definer set search_path = public, pg_temp
return (
  select coalesce(array_agg(m.organization_id), '{}')
  from memberships m
  join role_permissions p on p.role = m.role and p.module = in_module
  where m.person_id = millstream.person()
    and m.role not in ('buyer', 'supplier')
    and case action when 'view' then p.can_view when 'create' then p.can_create
                    when 'update' then p.can_update when 'delete' then p.can_delete end
);

-- Customers to which the person is bound as a buyer, where buyers may see the module.
create function millstream.bound_customers(in_module text) returns uuid[]
language sql stable security definer set search_path = public, pg_temp
return (
  select coalesce(array_agg(m.customer_id), '{}')
  from memberships m
  join role_permissions p on p.role = m.role and p.module = in_module
  where m.person_id = millstream.person() and m.role = 'buyer' and m.customer_id is not null and p.can_view
);

create function millstream.my_organizations() returns uuid[]
language sql stable security definer set search_path = public, pg_temp
return (select coalesce(array_agg(m.organization_id), '{}') from memberships m where m.person_id = millstream.person());

-- People whose names the person may see: the members of organizations whose members the person may see.
create function millstream.colleagues() returns uuid[]
language sql stable security definer set search_path = public, pg_temp
return (
  select coalesce(array_agg(distinct m.person_id), '{}') from memberships m
  where m.organization_id = any ((select millstream.organizations_where('members', 'view'))::uuid[])
);

create function millstream.role_in(organization uuid) returns text
language sql stable security definer set search_path = public, pg_temp
return (select m.role from memberships m where m.organization_id = organization and m.person_id = millstream.person());

alter table profiles enable row level security;
alter table credentials enable row level security;
alter table organizations enable row level security;
alter table role_permissions enable row level security;
alter table memberships enable row level security;
alter table invitations enable row level security;
alter table sessions enable row level security;

create policy see on profiles for select to millstream_app
  using (id = (select millstream.person()) or id = any ((select millstream.colleagues())::uuid[]));
grant select on profiles to millstream_app;

create policy see on organizations for select to millstream_app
  using (id = any ((select millstream.my_organizations())::uuid[]));
grant select on organizations to millstream_app;

create policy see on role_permissions for select to millstream_app using (true);
grant select on role_permissions to millstream_app;

create policy see on memberships for select to millstream_app
  using (person_id = (select millstream.person())
         or organization_id = any ((select millstream.organizations_where('members', 'view'))::uuid[]));
create policy change on memberships for update to millstream_app
  using (organization_id = any ((select millstream.organizations_where('members', 'update'))::uuid[]))
  with check (organization_id = any ((select millstream.organizations_where('members', 'update'))::uuid[]));
create policy remove on memberships for delete to millstream_app
  using (person_id = (select millstream.person()) -- one may always leave
         or organization_id = any ((select millstream.organizations_where('members', 'delete'))::uuid[]));
grant select, update (role, customer_id), delete on memberships to millstream_app;

create policy see on invitations for select to millstream_app
  using (organization_id = any ((select millstream.organizations_where('members', 'create'))::uuid[]));
create policy make on invitations for insert to millstream_app
  with check (organization_id = any ((select millstream.organizations_where('members', 'create'))::uuid[])
              and invited_by = (select millstream.person()));
grant select (id, organization_id, role, customer_id, invited_by, created_at, expires_at, accepted_by),
      insert (id, organization_id, role, customer_id, token_hash, invited_by) on invitations to millstream_app;

-- Only an owner makes, changes or removes an owner, and the last one stays: an organization is never left to nobody.
create function guard_owners() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  organization uuid;
begin
  if tg_table_name = 'invitations' then
    if new.role = 'owner' and millstream.person() is not null
       and millstream.role_in(new.organization_id) is distinct from 'owner' then
      raise exception using errcode = 'MS403', message = 'Only an owner can invite another owner.';
    end if;
    return new;
  end if;
  organization := old.organization_id;
  if tg_op = 'UPDATE' and new.role = old.role then
    return new;
  end if;
  if millstream.person() is not null and millstream.role_in(organization) is distinct from 'owner'
     and (old.role = 'owner' or (tg_op = 'UPDATE' and new.role = 'owner'))
     and not (tg_op = 'DELETE' and old.person_id = millstream.person()) then
    raise exception using errcode = 'MS403', message = 'Only an owner can change who is an owner.';
  end if;
  if old.role = 'owner' then
    perform from organizations o where o.id = organization for update; -- two owners that leave at once: one waits
    if not exists (
      select from memberships m
      where m.organization_id = organization and m.role = 'owner' and m.id <> old.id
    ) then
      raise exception using errcode = 'MS422', message = 'The last owner cannot leave or change role: make somebody else an owner first.';
    end if;
  end if;
  if tg_op = 'DELETE' then
    return old;
  end if;
  return new;
end
$$;
create trigger guard_owners before update or delete on memberships for each row execute function guard_owners();
create trigger guard_owners before insert on invitations for each row execute function guard_owners();

---------------------------------------------------------------------------------------------------- before sign-in
-- What must be looked up while nobody is signed in, or must be done beyond one's own rights: each does one thing.

create function session_of(token bytea) returns table (session_id uuid, person_id uuid, email text, name text)
language sql stable security definer set search_path = public, pg_temp
begin atomic
  select s.id, p.id, p.email, p.name
  from sessions s join profiles p on p.id = s.person_id
  where s.token_hash = token and s.expires_at > now();
end;

create function credentials_of(of_email text) returns table (person_id uuid, password_hash text)
language sql stable security definer set search_path = public, pg_temp
begin atomic
  select c.person_id, c.password_hash
  from credentials c join profiles p on p.id = c.person_id
  where p.email = lower(of_email);
end;

create function sign_up(new_person uuid, new_email text, new_name text, new_password_hash text) returns void
language sql volatile security definer set search_path = public, pg_temp
begin atomic
  insert into profiles (id, email, name) values (new_person, lower(new_email), btrim(new_name));
  insert into credentials (person_id, password_hash) values (new_person, new_password_hash);
end;

create function start_session(of_person uuid, token bytea) returns uuid
language sql volatile security definer set search_path = public, pg_temp
begin atomic
  delete from sessions where person_id = of_person and expires_at <= now();
  insert into sessions (person_id, token_hash, expires_at) values (of_person, token, now() + interval '30 days') returning id;
end;

create function end_session(token bytea) returns void
language sql volatile security definer set search_path = public, pg_temp
begin atomic
  delete from sessions where token_hash = token;
end;

create function create_organization(new_organization uuid, new_name text) returns void
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  insert into organizations (id, name) values (new_organization, btrim(new_name));
  insert into memberships (organization_id, person_id, role) values (new_organization, millstream.person(), 'owner');
end
$$;

create function invitation_of(token bytea) returns table (organization_id uuid, organization_name text, role text, invited_by text, state text)
language sql stable security definer set search_path = public, pg_temp
begin atomic
  select o.id, o.name, i.role, p.name,
    case when i.accepted_by is not null then 'accepted' when i.expires_at <= now() then 'expired' else 'open' end
  from invitations i
  join organizations o on o.id = i.organization_id
  join profiles p on p.id = i.invited_by
  where i.token_hash = token;
end;

-- Gives the organization joined. An invitation is good once; a member that follows it again stays what they are.
create function accept_invitation(token bytea) returns uuid
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  invitation invitations;
begin
  select * into invitation from invitations i where i.token_hash = token for update;
  if not found then
    raise exception using errcode = 'MS404', message = 'This invitation does not exist.';
  end if;
  if exists (select from memberships m where m.organization_id = invitation.organization_id and m.person_id = millstream.person()) then
    return invitation.organization_id;
  end if;
  if invitation.accepted_by is not null then
    raise exception using errcode = 'MS422', message = 'This invitation has already been used.';
  end if;
  if invitation.expires_at <= now() then
    raise exception using errcode = 'MS422', message = 'This invitation has expired. Ask for a new one.';
  end if;
  insert into memberships (organization_id, person_id, role, customer_id)
  values (invitation.organization_id, millstream.person(), invitation.role, invitation.customer_id);
  update invitations set accepted_by = millstream.person() where id = invitation.id;
  return invitation.organization_id;
end
$$;

revoke execute on all functions in schema public from public;
grant execute on function
  session_of(bytea), credentials_of(text), sign_up(uuid, text, text, text), start_session(uuid, bytea), end_session(bytea),
  create_organization(uuid, text), invitation_of(bytea), accept_invitation(bytea)
to millstream_app;

---------------------------------------------------------------------------------------------------- watching
-- What a person may watch in an organization, for the hub: null for whom is no member. Outsiders are narrowed to what
-- they are bound to; a table that cannot be narrowed by a facet is left out with its module.
create function millstream.watch_rights(of_person uuid, in_organization uuid) returns jsonb
language sql stable security definer set search_path = public, pg_temp
return (
  select jsonb_build_object(
    'modules', coalesce((
      select jsonb_agg(p.module) from role_permissions p where p.role = m.role and p.can_view), '[]'),
    'only', case when m.role = 'buyer' then jsonb_build_object(
      'sales_orders', jsonb_build_object('facet', 'customer_id', 'values', array_remove(array[m.customer_id], null)),
      'customers', jsonb_build_object('facet', 'id', 'values', array_remove(array[m.customer_id], null)))
      else '{}' end)
  from memberships m
  where m.person_id = of_person and m.organization_id = in_organization
);
revoke execute on function millstream.watch_rights(uuid, uuid) from public;
grant execute on function millstream.watch_rights(uuid, uuid) to millstream_app;

-- Whether the person may do this in the organization; null for whom is no member.
create function millstream.may(in_organization uuid, in_module text, action text) returns boolean
language sql stable security definer set search_path = public, pg_temp
return (
  select case action when 'view' then p.can_view when 'create' then p.can_create
                     when 'update' then p.can_update when 'delete' then p.can_delete end
  from memberships m
  join role_permissions p on p.role = m.role and p.module = in_module
  where m.person_id = millstream.person() and m.organization_id = in_organization
);

-- From it and a mutation's id follows the token of an invitation, so that a repeated "invite" gives the same link
-- although only the token's hash is stored.
create table millstream.secrets (
  name text primary key,
  secret bytea not null
);
insert into millstream.secrets (name, secret)
values ('invitation', sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'utf8')));
create function millstream.invitation_secret() returns bytea
language sql stable security definer set search_path = pg_catalog, pg_temp
return (select s.secret from millstream.secrets s where s.name = 'invitation');
revoke execute on function millstream.invitation_secret() from public;
grant execute on function millstream.invitation_secret() to millstream_app;
