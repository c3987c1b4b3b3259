-- What was done long ago is forgotten: old mutations, so that their table does not grow for ever, and sessions that have expired.

-- Mutations from before this time are no longer all kept. So one that was made before it, and of which nothing is known, may
-- have been carried out: it is refused, for it must not be carried out twice.
create table millstream.mutations_horizon (
  one boolean primary key default true check (one),
  made_before timestamptz not null
);
insert into millstream.mutations_horizon (made_before) values ('-infinity');
grant select on millstream.mutations_horizon to millstream_app;

-- They lie in the order in which they were made, mostly, and each further B-tree would cost every mutation.
create index mutations_created on millstream.mutations using brin (created_at) with (autosummarize = on);
alter table millstream.mutations set (autovacuum_vacuum_scale_factor = 0.02);
create index sessions_expires on sessions (expires_at);

-- When a UUID of version 7 was made, by the clock of who made it; of others nobody knows.
create function millstream.made_at(id uuid) returns timestamptz
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
begin atomic
  select case when substr(id::text, 15, 1) = '7' then
    to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) end;
end;

create or replace function millstream.begin_mutation(
  person uuid, mutation uuid, hash bytea, organization uuid, out is_new boolean, out rights jsonb
)
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true), set_config('millstream.mutation', mutation::text, true);
  insert into millstream.mutations (person_id, mutation_id, payload_hash) values (person, mutation, hash)
  on conflict do nothing;
  is_new := found;
  -- Looked at after the insert, which waits for whoever is deleting the row of an earlier sending.
  if is_new and millstream.made_at(mutation) < (select h.made_before from millstream.mutations_horizon h) then
    raise exception using errcode = 'MS422', column = 'mutation_id',
      message = 'This change was made so long ago that it is no longer known whether it was carried out. Look whether it is there before you make it again.';
  end if;
  rights := millstream.watch_rights(person, organization);
end
$$;

-- Deletes some of the mutations that are older than so many days, and gives their number: to be called until it gives fewer
-- than `most`. Losing this in a crash costs nothing.
create function millstream.forget_mutations(kept_days integer, most integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  first_kept timestamptz := now() - make_interval(days => kept_days);
  deleted integer;
begin
  perform set_config('synchronous_commit', 'off', true);
  delete from millstream.mutations where ctid = any (array(
    select ctid from millstream.mutations where created_at < first_kept limit most for update skip locked));
  get diagnostics deleted = row_count;
  if deleted > 0 then
    update millstream.mutations_horizon set made_before = greatest(made_before, first_kept);
  end if;
  return deleted;
end
$$;

-- The same for sessions that have expired. Each is an event, which ends its connections, so `most` is what a step of the feed
-- may well have to tell.
create function millstream.forget_sessions(most integer) returns integer
language plpgsql security definer set search_path = public, pg_temp
as $$
declare
  deleted integer;
begin
  delete from sessions where id = any (array(
    select id from sessions where expires_at <= now() order by expires_at limit most for update skip locked));
  get diagnostics deleted = row_count;
  return deleted;
end
$$;

revoke execute on function millstream.forget_mutations(integer, integer), millstream.forget_sessions(integer) from public;
