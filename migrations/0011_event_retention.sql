-- Events are kept for some days, and then go a whole day at once; and the server makes fewer days ahead, because the feed looks
-- into each partition at every step.

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
