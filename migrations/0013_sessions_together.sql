-- Sessions of many at once: where a server goes, its clients come to another together.

-- As session_of, of several tokens. A token that stands for no session has no row.
create function sessions_of(tokens bytea[])
returns table (token bytea, session_id uuid, person_id uuid, email text, name text)
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return query
    select s.token_hash, s.id, p.id, p.email, p.name
    from sessions s join profiles p on p.id = s.person_id
    where s.token_hash = any (tokens) and s.expires_at > now();
end
$$;

-- Those of the sessions that have neither ended nor run out, for the hub.
create function millstream.standing_sessions(asked uuid[]) returns setof uuid
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return query select s.id from sessions s where s.id = any (asked) and s.expires_at > now();
end
$$;

revoke execute on function sessions_of(bytea[]), millstream.standing_sessions(uuid[]) from public;
grant execute on function sessions_of(bytea[]), millstream.standing_sessions(uuid[]) to millstream_app;
