-- The beginning of a mutation's answer in one statement: whose it is, the snapshot that it is read in, what is stored of the
-- mutation, and the person's rights in the organization that it is about, by which what is stored may be told or not.
-- `epoch` is null where the database has crashed and nobody has begun a new one.
create function millstream.begin_answer(
  person uuid, mutation uuid, organization uuid,
  out snapshot text, out epoch uuid,
  out payload_hash bytea, out xid text, out answer jsonb, out refusal jsonb, out rights jsonb, out rights_now jsonb
)
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true);
  snapshot := pg_current_snapshot()::text;
  epoch := (select e.epoch from millstream.epoch e);
  rights_now := millstream.watch_rights(person, organization);
  select m.payload_hash, m.xid::text, m.answer, m.refusal, m.rights
  into strict payload_hash, xid, answer, refusal, rights
  from millstream.mutations m where m.person_id = person and m.mutation_id = mutation;
end
$$;
