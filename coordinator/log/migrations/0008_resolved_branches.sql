-- Prepared transactions that a person has ended, and by what right. Written before it is done.
CREATE TABLE twofold.resolved_branch (
    at          timestamptz NOT NULL DEFAULT now(),
    name        text        NOT NULL,
    participant text        NOT NULL,
    action      text        NOT NULL CHECK (action IN ('commit', 'rollback')),
    decided     text        NOT NULL,
    actor       text        NOT NULL,
    reason      text        NOT NULL
);
