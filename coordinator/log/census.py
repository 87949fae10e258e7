"""Who lives, and who has which shards: the questions of every beat."""

from __future__ import annotations

HEARTBEAT = """
    WITH alive AS (
        INSERT INTO twofold.replica AS r (id) VALUES ($1)
        ON CONFLICT (id) DO UPDATE SET heartbeat = now()
    ), gone AS (
        DELETE FROM twofold.replica WHERE id IN (
            SELECT id FROM twofold.replica
             WHERE heartbeat < now() - interval '1 hour' AND id <> $1 FOR UPDATE SKIP LOCKED)
    ), mine AS (
        SELECT shard FROM twofold.lease WHERE owner = $1 ORDER BY shard FOR NO KEY UPDATE
    )
    UPDATE twofold.lease l SET until = clock_timestamp() + $2 * interval '1 microsecond'
      FROM mine WHERE l.shard = mine.shard RETURNING l.shard
"""

LOOK_AROUND = """
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us,
           ARRAY(SELECT id FROM twofold.replica
                  WHERE heartbeat > now() - $1 * interval '1 microsecond' ORDER BY id) AS replicas,
           ARRAY(SELECT s.id FROM twofold.shard s LEFT JOIN twofold.lease l ON l.shard = s.id
                  WHERE l.shard IS NULL OR l.until < now() ORDER BY s.id) AS free
"""
