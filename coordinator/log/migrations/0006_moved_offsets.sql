-- Where a person let a shard go on, since its topic no longer held what was next.
CREATE TABLE twofold.moved_offset (
    at          timestamptz NOT NULL DEFAULT now(),
    shard       integer     NOT NULL REFERENCES twofold.shard (id),
    topic       text        NOT NULL,
    from_offset bigint      NOT NULL,
    to_offset   bigint      NOT NULL,
    actor       text        NOT NULL,
    reason      text        NOT NULL
);
