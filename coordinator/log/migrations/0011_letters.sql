-- Who waits for which events; written in the commit in which the wait begins or is over.
CREATE TABLE twofold.waiting (
    gid   text COLLATE "C" NOT NULL,
    step  text COLLATE "C" NOT NULL,
    shard integer          NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key   text COLLATE "C" NOT NULL,
    PRIMARY KEY (gid, step)
);
CREATE INDEX waiting_place ON twofold.waiting (topic, key);

-- Events of the topics that are waited for, whether or not somebody waits yet.
CREATE TABLE twofold.letter (
    topic     text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    partition integer          NOT NULL,
    "offset"  bigint           NOT NULL,
    at        timestamptz      NOT NULL,
    event     json             NOT NULL,
    PRIMARY KEY (topic, key, partition, "offset")
);
CREATE INDEX letter_age ON twofold.letter (topic, at);
