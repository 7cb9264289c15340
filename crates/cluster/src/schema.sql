-- What the hosts of a cluster share. `{shards}` and `{id}` are filled in by `schema.rs`. Everything is
-- one transaction. It can run again: it changes nothing that is there.

-- Two hosts may do this at the same time.
select pg_advisory_xact_lock(hashtext('agentry'));

do $$ begin
    if to_regnamespace('agentry') is null then
        create schema agentry;
    end if;
end $$;

-- One row: what this cluster is.
create table if not exists agentry.cluster (
    one boolean primary key default true check (one),
    id text not null check (id ~ '^[0-9a-f]{32}$'),
    format integer not null check (format > 0),
    shards integer not null check (shards between 1 and 65535),
    created timestamptz not null default now()
);

-- While the agents of a single machine are moved into the cluster, and after they were moved out of it:
-- no host claims a shard then.
alter table agentry.cluster add column if not exists moving text;

-- Who owns which shard. Each append changes the row: with room in its page, that needs no index entry
-- and no vacuum.
create table if not exists agentry.shard (
    id integer primary key check (id between 0 and 65534),
    owner text check (owner ~ '^[0-9a-f]{32}$'),
    epoch bigint not null default 0 check (epoch >= 0),
    head bigint not null default 0 check (head >= 0),
    format integer not null default 1 check (format > 0),
    halted text
) with (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- The records of each shard. There is no foreign key: the shard's row, which every append changes,
-- would be locked a second time. A trimmed log needs its vacuum; inserts need none of their own.
create table if not exists agentry.log (
    shard integer not null check (shard between 0 and 65534),
    seq bigint not null check (seq > 0),
    epoch bigint not null check (epoch > 0),
    body text not null,
    primary key (shard, seq)
) with (autovacuum_vacuum_scale_factor = 0.05);

-- Compressing costs more of the server's time than everything else of an append.
alter table agentry.log alter column body set storage external;

-- The processes that beat.
create table if not exists agentry.host (
    incarnation text primary key check (incarnation ~ '^[0-9a-f]{32}$'),
    name text not null check (length(name) between 1 and 255),
    beat bigint not null check (beat > 0),
    seen timestamptz not null,
    address text not null,
    version text not null,
    config_hash text not null,
    format integer not null check (format > 0),
    draining boolean not null default false,
    without_node boolean not null,
    following text not null
) with (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);

-- What a host says of itself to people: where it posts, and what its clock showed when it beat, in
-- milliseconds since the epoch.
alter table agentry.host add column if not exists submit text not null default '';
alter table agentry.host add column if not exists clock bigint;

-- The workers that beat: for people, who see here what runs where. Jobs do not depend on it.
create table if not exists agentry.worker (
    id text primary key check (length(id) between 1 and 300),
    version text not null,
    kinds text[] not null,
    most integer[] not null,
    running integer[] not null,
    seen timestamptz not null,
    check (cardinality(kinds) = cardinality(most) and cardinality(kinds) = cardinality(running))
) with (
    fillfactor = 20,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200,
    autovacuum_vacuum_cost_delay = 0
);

-- The tables of a shard as a file, in parts. `file` is the SHA-256 of the whole: parts of different
-- copies are never mixed.
create table if not exists agentry.snapshot (
    shard integer not null check (shard between 0 and 65534),
    seq bigint not null check (seq >= 0),
    file bytea not null check (length(file) = 32),
    part integer not null check (part >= 0),
    parts integer not null check (parts > part),
    body bytea not null check (length(body) <= 1048576),
    primary key (shard, seq, file, part)
);

alter table agentry.snapshot alter column body set storage external;

-- Requests that hosts pass on to the owners of shards. A row lives for as long as somebody waits.
create table if not exists agentry.call (
    number bigint primary key generated always as identity,
    shard integer not null check (shard between 0 and 65534),
    request text not null,
    answer text,
    taken boolean not null default false,
    made timestamptz not null default clock_timestamp()
) with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 100,
    autovacuum_vacuum_cost_delay = 0
);

create index if not exists call_waiting on agentry.call (shard) where not taken;

-- Attempts at tasks, for workers. A row lives for minutes.
create table if not exists agentry.job (
    shard integer not null check (shard between 0 and 65534),
    task bigint not null check (task > 0),
    attempt integer not null check (attempt > 0),
    number bigint not null generated always as identity,
    kind text not null,
    input bytea not null,
    state text not null default 'waiting'
        check (state in ('waiting', 'taken', 'done', 'failed', 'cancelled', 'interrupted')),
    worker text,
    beat timestamptz,
    cancel boolean not null default false,
    progress text,
    result bytea,
    primary key (shard, task, attempt),
    check ((state = 'waiting') <= (worker is null)),
    check ((state = 'taken') <= (worker is not null and beat is not null)),
    check ((state in ('done', 'failed')) = (result is not null))
) with (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 100,
    autovacuum_vacuum_cost_delay = 0
);

create index if not exists job_waiting on agentry.job (kind, number) where state = 'waiting';
create index if not exists job_taken on agentry.job (worker) where state = 'taken';

insert into agentry.cluster (id, format, shards) values ('{id}', {format}, {shards})
    on conflict do nothing;

insert into agentry.shard (id) select generate_series(0, (select shards from agentry.cluster) - 1)
    on conflict do nothing;
