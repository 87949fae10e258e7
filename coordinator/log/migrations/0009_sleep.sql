-- A transaction that waits for long sleeps: it is open and not active, and nobody has it in
-- memory. Until when, if nothing happens before, is here, and nowhere else.
ALTER TABLE twofold.transaction ADD COLUMN wake_at timestamptz;
CREATE INDEX transaction_asleep ON twofold.transaction (shard, wake_at) WHERE wake_at IS NOT NULL;

-- What a new owner must load is few, however many sleep.
DROP INDEX twofold.transaction_unended;
CREATE INDEX transaction_unended ON twofold.transaction (shard, active) WHERE status <> 'ended';
