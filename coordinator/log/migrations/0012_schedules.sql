-- Up to when a definition's starts by the clock have been asked for. Before the
-- first one there is no row: then it counts from when the definition was published.
CREATE TABLE twofold.schedule (
    name       text COLLATE "C" PRIMARY KEY,
    done_until timestamptz NOT NULL
);
