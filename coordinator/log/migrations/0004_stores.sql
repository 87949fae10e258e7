-- A log may have several stores: this one has every ``stores``-th shard, from ``store`` on.
ALTER TABLE twofold.cluster
    ADD COLUMN store  integer NOT NULL DEFAULT 0,
    ADD COLUMN stores integer NOT NULL DEFAULT 1,
    ADD CHECK (0 <= store AND store < stores);
