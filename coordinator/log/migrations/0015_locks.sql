-- Who has a lock, and who waits for it: of each lock, the one with the lowest place has it.
-- The queue as it stands, and not its past: that is in the transactions' own logs.
CREATE TABLE twofold.claim (
    lock     text COLLATE "C" NOT NULL,
    gid      text COLLATE "C" NOT NULL,
    shard    integer          NOT NULL,
    place    bigint           NOT NULL,
    asked_at timestamptz      NOT NULL,
    held_at  timestamptz,
    PRIMARY KEY (lock, gid)
);
CREATE INDEX claim_of_shard ON twofold.claim (shard);
