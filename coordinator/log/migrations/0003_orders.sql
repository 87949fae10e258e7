-- What people have ordered, the newest first, is few among many records.
CREATE INDEX decision_log_ordered ON twofold.decision_log (at) WHERE kind = 'ordered';
