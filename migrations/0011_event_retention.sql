-- Events are kept for some days, and then go a whole day at once; and fewer days are made ahead, because the feed looks into
-- each partition at every step.

-- Makes the partitions of the coming days; the server calls it at start and every hour. Cost: a few catalogue look-ups. What
-- is written on a day that nobody made a partition for goes to the default one, and the rest of that day with it.
create or replace function millstream.make_event_partitions(days_ahead integer default 2) returns void
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

-- Drops the oldest day of events that is older than so many whole days, and moves the horizon: false where there is none.
-- One that somebody still writes to, or reads, is not waited for: writers would wait behind us. It raises 55P03 then, and is
-- tried again later. The server calls it every hour.
create function millstream.drop_oldest_events(kept_days integer) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '50ms'
as $$
declare
  first_kept date := (now() at time zone 'utc')::date - kept_days;
  oldest text;
  gone xid8; -- the last transaction of which events go
begin
  perform pg_advisory_xact_lock(hashtext('millstream.make_event_partitions'));
  select c.relname into oldest
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'public.realtime_table_events'::regclass and c.relname ~ '^realtime_table_events_\d{8}$'
    and to_date(right(c.relname, 8), 'YYYYMMDD') < first_kept
  order by c.relname limit 1;
  if oldest is not null then
    -- First, so that what is dropped is what was looked at.
    lock table only public.realtime_table_events in access exclusive mode;
    execute format('lock table public.%I in access exclusive mode', oldest);
    execute format('select max(xid) from public.%I', oldest) into gone;
    execute format('drop table public.%I', oldest);
  else
    with deleted as (
      delete from public.realtime_table_events_default d
      where d.created_at < first_kept::timestamp at time zone 'utc' returning d.xid)
    select max(xid) into gone from deleted;
  end if;
  update millstream.horizon h set xid = (gone::text::bigint + 1)::text::xid8 where h.xid <= gone;
  return oldest is not null;
end
$$;
revoke execute on function millstream.drop_oldest_events(integer) from public;

-- The days that were made further ahead: nothing is in them yet.
do $$
declare
  further text;
begin
  for further in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'public.realtime_table_events'::regclass and c.relname ~ '^realtime_table_events_\d{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') > (now() at time zone 'utc')::date + 2
  loop
    execute format('drop table public.%I', further);
  end loop;
end
$$;
