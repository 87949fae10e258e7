-- When a log was brought up to date that had lost its end, and by whom.
CREATE TABLE twofold.recovery (
    at              timestamptz NOT NULL DEFAULT now(),
    from_generation integer     NOT NULL,
    to_generation   integer     NOT NULL,
    rebuilt         integer     NOT NULL,
    actor           text        NOT NULL,
    reason          text        NOT NULL
);
