-- Accepting an invitation is a mutation like the others: it says whether it changed anything.
drop function accept_invitation(bytea);

-- Whether somebody joined. An invitation is good once; a member that follows it again stays what they are.
create function accept_invitation(token bytea) returns boolean
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
    return false;
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
  return true;
end
$$;

-- Which of these migrations the database has not had: what a server asks itself before it calls itself ready.
create function millstream.missing_migrations(of_versions bigint[]) returns bigint[]
language sql stable security definer set search_path = public, pg_temp
begin atomic
  select coalesce(array_agg(wanted order by wanted), '{}')
  from unnest(of_versions) as wanted
  where not exists (select from _sqlx_migrations done where done.version = wanted and done.success);
end;

revoke execute on function accept_invitation(bytea), millstream.missing_migrations(bigint[]) from public;
grant execute on function accept_invitation(bytea), millstream.missing_migrations(bigint[]) to millstream_app;
