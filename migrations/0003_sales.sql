-- Customers, sales orders and their lines, and the numbers that people call orders by.

create table customers (
  id uuid primary key,
  organization_id uuid not null references organizations,
  name text not null check (length(btrim(name)) between 1 and 200),
  created_at timestamptz not null default now(),
  unique (organization_id, id)
);
create index customers_by_name on customers (organization_id, name, id);

alter table memberships add foreign key (organization_id, customer_id) references customers (organization_id, id);
alter table invitations add foreign key (organization_id, customer_id) references customers (organization_id, id);

create table sequences (
  organization_id uuid not null references organizations,
  kind text not null check (kind in ('sales_order')),
  pattern text not null default 'SO-',      -- the prefix; %{yyyy} becomes the year
  size integer not null default 4 check (size between 1 and 12),
  step integer not null default 1 check (step between 1 and 1000),
  last bigint not null default 0,
  primary key (organization_id, kind)
);

create function next_number(of_organization uuid, of_kind text) returns text
language sql volatile security definer set search_path = public, pg_temp
begin atomic
  insert into sequences as s (organization_id, kind, last) values (of_organization, of_kind, 1)
  on conflict (organization_id, kind) do update set last = s.last + s.step
  returning replace(pattern, '%{yyyy}', to_char(now(), 'YYYY')) || lpad(last::text, greatest(size, length(last::text)), '0');
end;
revoke execute on function next_number(uuid, text) from public;

create table sales_orders (
  id uuid primary key,
  organization_id uuid not null references organizations,
  number text not null,
  title text not null check (length(btrim(title)) between 1 and 200),
  status text not null default 'draft' check (status in (
    'draft', 'needs_approval', 'released', 'in_production', 'ready_to_ship', 'shipped', 'completed', 'on_hold', 'cancelled')),
  customer_id uuid not null,
  assignee_id uuid,
  due_on date,
  created_at timestamptz not null default now(),
  created_by uuid references profiles,
  updated_at timestamptz not null default now(),
  updated_by uuid references profiles,
  unique (organization_id, id),
  unique (organization_id, number),
  foreign key (organization_id, customer_id) references customers (organization_id, id),
  -- A member that leaves takes the assignments along, and nothing else.
  foreign key (organization_id, assignee_id) references memberships (organization_id, person_id) on delete set null (assignee_id)
);
-- One index for each order in which the list is shown (keyset paging), and those that the filters and references need.
create index sales_orders_by_created on sales_orders (organization_id, created_at desc, id desc);
create index sales_orders_by_updated on sales_orders (organization_id, updated_at desc, id desc);
create index sales_orders_by_due on sales_orders (organization_id, (coalesce(due_on, 'infinity'::date)), id);
create index sales_orders_by_status on sales_orders (organization_id, status, created_at desc, id desc);
create index sales_orders_by_customer on sales_orders (organization_id, customer_id, created_at desc, id desc);
create index sales_orders_by_assignee on sales_orders (organization_id, assignee_id);

create table sales_order_lines (
  id uuid primary key,
  organization_id uuid not null, -- the order's, filled by the database
  order_id uuid not null,
  position integer not null check (position between 1 and 1000000),
  description text not null check (length(btrim(description)) between 1 and 500),
  quantity integer not null check (quantity between 1 and 1000000),
  unit text not null default 'pcs' check (length(btrim(unit)) between 1 and 20),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  updated_by uuid references profiles,
  foreign key (organization_id, order_id) references sales_orders (organization_id, id) on delete cascade
);
create index sales_order_lines_of_order on sales_order_lines (order_id, position, id);
create index sales_order_lines_reference on sales_order_lines (organization_id, order_id);

-- Who and when, by the database's own word. A change by plain SQL has no person, and says so.
create function stamp_change() returns trigger
language plpgsql
as $$
begin
  new.updated_at := clock_timestamp();
  new.updated_by := millstream.person();
  return new;
end
$$;
create trigger stamp_change before insert or update on sales_orders for each row execute function stamp_change();
create trigger stamp_change before insert or update on sales_order_lines for each row execute function stamp_change();

create function number_sales_order() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  new.number := coalesce(new.number, next_number(new.organization_id, 'sales_order'));
  new.created_by := millstream.person();
  return new;
end
$$;
create trigger number_sales_order before insert on sales_orders for each row execute function number_sales_order();

create function fill_line_organization() returns trigger
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  select o.organization_id into new.organization_id from sales_orders o where o.id = new.order_id;
  if not found then
    raise exception using errcode = 'MS404', message = 'This order does not exist.';
  end if;
  return new;
end
$$;
create trigger fill_organization before insert or update of order_id, organization_id on sales_order_lines
  for each row execute function fill_line_organization();

select millstream.make_live('customers');
select millstream.make_live('sales_orders', facets => '{status,customer_id,assignee_id}');
select millstream.make_live('sales_order_lines', organization => 'organization_id', facets => '{order_id}');

alter table customers enable row level security;
alter table sequences enable row level security;
alter table sales_orders enable row level security;
alter table sales_order_lines enable row level security;

create policy see on customers for select to millstream_app
  using (organization_id = any ((select millstream.organizations_where('customers', 'view'))::uuid[])
         or id = any ((select millstream.bound_customers('customers'))::uuid[]));
create policy make on customers for insert to millstream_app
  with check (organization_id = any ((select millstream.organizations_where('customers', 'create'))::uuid[]));
create policy change on customers for update to millstream_app
  using (organization_id = any ((select millstream.organizations_where('customers', 'update'))::uuid[]));
grant select, insert (id, organization_id, name), update (name) on customers to millstream_app;

create policy see on sales_orders for select to millstream_app
  using (organization_id = any ((select millstream.organizations_where('sales', 'view'))::uuid[])
         or customer_id = any ((select millstream.bound_customers('sales'))::uuid[]));
create policy make on sales_orders for insert to millstream_app
  with check (organization_id = any ((select millstream.organizations_where('sales', 'create'))::uuid[]));
create policy change on sales_orders for update to millstream_app
  using (organization_id = any ((select millstream.organizations_where('sales', 'update'))::uuid[]));
create policy remove on sales_orders for delete to millstream_app
  using (organization_id = any ((select millstream.organizations_where('sales', 'delete'))::uuid[]));
grant select,
      insert (id, organization_id, title, status, customer_id, assignee_id, due_on),
      update (title, status, customer_id, assignee_id, due_on),
      delete on sales_orders to millstream_app;

create policy see on sales_order_lines for select to millstream_app
  using (organization_id = any ((select millstream.organizations_where('sales', 'view'))::uuid[])
         or order_id in (select o.id from sales_orders o where o.customer_id = any ((select millstream.bound_customers('sales'))::uuid[])));
create policy make on sales_order_lines for insert to millstream_app
  with check (organization_id = any ((select millstream.organizations_where('sales', 'update'))::uuid[]));
create policy change on sales_order_lines for update to millstream_app
  using (organization_id = any ((select millstream.organizations_where('sales', 'update'))::uuid[]));
create policy remove on sales_order_lines for delete to millstream_app
  using (organization_id = any ((select millstream.organizations_where('sales', 'update'))::uuid[]));
grant select,
      insert (id, order_id, position, description, quantity, unit),
      update (position, description, quantity, unit),
      delete on sales_order_lines to millstream_app;
