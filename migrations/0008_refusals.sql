-- A refusal is as final as an answer: it is stored, and every sending of the mutation gets it. And what is stored is given
-- out by the rights of now, which may be others than those that it was read by.

alter table millstream.mutations
  add column refusal jsonb, -- the error where it was refused; such a row has no transaction and no answer
  add column rights jsonb,  -- what the person might see in the organization when this was read
  add check (refusal is null or (answer is null and xid is null));
grant update (rights) on millstream.mutations to millstream_app;

-- Asked with each mutation from here on, and so with its plan kept (0007); the modules in one order, because it is compared.
create or replace function millstream.watch_rights(of_person uuid, in_organization uuid) returns jsonb
language plpgsql stable security definer set search_path = public, pg_temp
as $$
begin
  return (
    select jsonb_build_object(
      'modules', coalesce((
        select jsonb_agg(p.module order by p.module) from role_permissions p where p.role = m.role and p.can_view), '[]'),
      'only', case when m.role = 'buyer' then jsonb_build_object(
        'sales_orders', jsonb_build_object('facet', 'customer_id', 'values', array_remove(array[m.customer_id], null)),
        'customers', jsonb_build_object('facet', 'id', 'values', array_remove(array[m.customer_id], null)))
        else '{}' end)
    from memberships m
    where m.person_id = of_person and m.organization_id = in_organization
  );
end
$$;

drop function millstream.begin_mutation(uuid, uuid, bytea);
drop function millstream.store_answer(uuid, uuid, jsonb);

-- The beginning of a mutation in one statement: whose it is, its row, and the person's rights in the organization that it
-- is about. Not new where it has been carried out or refused; a second sending waits here for the first to do either.
create function millstream.begin_mutation(
  person uuid, mutation uuid, hash bytea, organization uuid, out is_new boolean, out rights jsonb
)
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true), set_config('millstream.mutation', mutation::text, true);
  insert into millstream.mutations (person_id, mutation_id, payload_hash) values (person, mutation, hash)
  on conflict do nothing;
  is_new := found;
  rights := millstream.watch_rights(person, organization);
end
$$;

-- Stores a refusal, after the transaction that it ended; false where another sending was answered meanwhile. It is durable
-- before anybody is told: a refusal that a crash took away would let the next sending go through.
create function millstream.store_refusal(person uuid, mutation uuid, hash bytea, given jsonb, seen_with jsonb) returns boolean
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true);
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  insert into millstream.mutations (person_id, mutation_id, payload_hash, xid, refusal, rights)
  values (person, mutation, hash, null, given, seen_with)
  on conflict do nothing;
  return found;
end
$$;

-- Stores a mutation's answer in a transaction of its own, unless another sending stored its own first: then gives that, if
-- it was read by the same rights. Losing it in a crash costs nothing, for the next sending reads and stores again: so nobody waits for the disk.
create function millstream.store_answer(person uuid, mutation uuid, given jsonb, seen_with jsonb) returns jsonb
language plpgsql
as $$
begin
  perform set_config('millstream.person', person::text, true), set_config('synchronous_commit', 'off', true);
  update millstream.mutations m set answer = given, rights = seen_with
  where m.person_id = person and m.mutation_id = mutation and m.answer is null;
  if found then
    return null;
  end if;
  return (
    select m.answer from millstream.mutations m
    where m.person_id = person and m.mutation_id = mutation and m.rights is not distinct from seen_with
  );
end
$$;
