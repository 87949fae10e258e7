-- The decision log of one store.
--
-- Names are compared byte by byte (COLLATE "C"): it is fast, and no upgrade
-- of the system's locales can put an index out of order.

-- What was fixed when the log was created. Names carry all three.
CREATE TABLE twofold.cluster (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    name       text    NOT NULL CHECK (name ~ '^[a-z0-9-]{1,24}$'),
    shards     integer NOT NULL CHECK (shards BETWEEN 1 AND 10000),
    generation integer NOT NULL DEFAULT 1
);

-- The fence. Whoever writes for a shard updates its row under its own epoch,
-- in the same statement: room on the page keeps that update cheap.
CREATE TABLE twofold.shard (
    id              integer PRIMARY KEY,
    epoch           bigint  NOT NULL DEFAULT 0,
    requests_offset bigint  NOT NULL DEFAULT 0,
    replies_offset  bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

-- Hints: who should try to own what. They decide nothing about a write.
CREATE TABLE twofold.lease (
    shard integer PRIMARY KEY REFERENCES twofold.shard,
    owner text        NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 20);

CREATE TABLE twofold.replica (
    id        text COLLATE "C" PRIMARY KEY,
    started   timestamptz NOT NULL DEFAULT now(),
    heartbeat timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);

-- A published definition never changes.
CREATE TABLE twofold.definition (
    hash         text COLLATE "C" PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    version      integer          NOT NULL,
    source       text             NOT NULL,
    published_at timestamptz      NOT NULL DEFAULT now(),
    UNIQUE (name, version)
);

-- An index of the log: written when a transaction begins, is parked, and ends.
CREATE TABLE twofold.transaction (
    gid        text COLLATE "C" PRIMARY KEY,
    shard      integer          NOT NULL,
    name       text COLLATE "C" NOT NULL,
    definition text COLLATE "C" NOT NULL,
    start_key  text COLLATE "C" NOT NULL,
    input_hash text COLLATE "C" NOT NULL,
    status     text COLLATE "C" NOT NULL,
    outcome    text COLLATE "C",
    active     boolean          NOT NULL,
    began_at   timestamptz      NOT NULL,
    changed_at timestamptz      NOT NULL,
    UNIQUE (name, start_key)
);
-- What a new owner must load, and what a person must look at: few, whatever has ended.
CREATE INDEX transaction_unended ON twofold.transaction (shard) WHERE status <> 'ended';
-- What a person looks at, newest first.
CREATE INDEX transaction_newest ON twofold.transaction (name, began_at);

-- The truth: append-only, and its key is the second fence. The kind stands
-- beside the record so that nothing here has to read JSON: operators such as
-- ->> refuse a whole record for one \u0000 in it, which JSON allows.
CREATE TABLE twofold.decision_log (
    gid    text COLLATE "C" NOT NULL,
    seq    integer          NOT NULL,
    at     timestamptz      NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    record json             NOT NULL,
    PRIMARY KEY (gid, seq)
);
