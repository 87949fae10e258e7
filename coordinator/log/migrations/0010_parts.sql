-- What has ended is forgotten after a while, and for the bulk of it, the
-- records, that is to cost nothing: they are in parts, by the time in the gid,
-- as on a ring, and a part is emptied as a whole. A new step of the schema
-- copies them once: with a large log, let it take its time.
CREATE TABLE twofold.parted_log (
    slot   smallint         NOT NULL,
    gid    text COLLATE "C" NOT NULL,
    seq    integer          NOT NULL,
    at     timestamptz      NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    record json             NOT NULL,
    -- Fences as before: a gid is in one slot for ever.
    CONSTRAINT decision_log_key PRIMARY KEY (gid, seq, slot)
) PARTITION BY LIST (slot);

-- A gid ends with a UUIDv7, which begins with milliseconds since 1970.
CREATE FUNCTION twofold.born_us(gid text) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN right(gid, 32) ~ '^[0-9a-f]{12}'
                THEN ('x' || substr(right(gid, 32), 1, 12))::bit(48)::bigint * 1000 ELSE 0 END;

DO $$
BEGIN
    FOR slot IN 0..31 LOOP
        EXECUTE format('CREATE TABLE twofold.decision_log_%s PARTITION OF twofold.parted_log'
                       ' FOR VALUES IN (%s)', slot, slot);
    END LOOP;
END $$;

INSERT INTO twofold.parted_log (slot, gid, seq, at, kind, record)
SELECT twofold.born_us(gid) / 86400000000 % 32, gid, seq, at, kind, record
  FROM twofold.decision_log;

DROP TABLE twofold.decision_log;
ALTER TABLE twofold.parted_log RENAME TO decision_log;
CREATE INDEX decision_log_ordered ON twofold.decision_log (at) WHERE kind = 'ordered';

-- Of each slot, the last part that was emptied; parts are counted from 1970.
CREATE TABLE twofold.emptied_part (
    slot smallint PRIMARY KEY,
    part bigint NOT NULL
);

ALTER TABLE twofold.cluster
    -- How much time a part holds.
    ADD COLUMN part_us bigint NOT NULL DEFAULT 86400000000 CHECK (part_us >= 1000),
    -- Of what is named by an earlier time, nothing may be presumed: it may be forgotten.
    ADD COLUMN purged_us bigint NOT NULL DEFAULT 0;
