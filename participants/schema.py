"""The tables that a participant's database needs, their guard, and how they get there."""

from __future__ import annotations

from typing import Final

from participants.connections import Connection

# `reply` is json, not jsonb: it is given back as it was, and jsonb refuses \u0000.
SCHEMA: Final = """\
CREATE SCHEMA IF NOT EXISTS twofold;

-- One row for each step of a saga that was asked for here, written in the same
-- transaction as its effect.
CREATE TABLE IF NOT EXISTS twofold.barrier (
    gid    text        NOT NULL,
    step   text        NOT NULL,
    status text        NOT NULL CHECK (status IN ('done', 'refused', 'sealed', 'undone')),
    reply  json,
    reason text        NOT NULL DEFAULT '',
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gid, step)
);

-- One row for each branch of an atomic transaction that has ended here, the
-- marker. 'committed' is written by the branch itself, so it is seen once it is so.
CREATE TABLE IF NOT EXISTS twofold.branch (
    gid    text        NOT NULL,
    branch text        NOT NULL,
    status text        NOT NULL CHECK (status IN ('committed', 'rolled-back')),
    reply  json,
    reason text        NOT NULL DEFAULT '',
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (gid, branch)
);

-- The highest generation of each shard's log that has spoken here. Coordinators
-- of lower ones are not obeyed.
CREATE TABLE IF NOT EXISTS twofold.generation (
    cluster    text        NOT NULL,
    shard      int         NOT NULL,
    generation int         NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster, shard)
);

-- A transaction in which handlers are at work is committed by nobody but whoever
-- began it: see participants/guard.py.
CREATE OR REPLACE FUNCTION twofold.handlers_are_done() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('twofold.handlers', true) IS DISTINCT FROM 'at work' THEN
        RAISE 'a handler has ended the transaction in which it was called'
            USING ERRCODE = 'invalid_transaction_termination';
    END IF;
    PERFORM set_config('twofold.handlers', 'done', true);
END $$;

CREATE OR REPLACE FUNCTION twofold.guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('twofold.handlers', true) = 'at work' THEN
        RAISE 'a handler may not end its transaction, nor say SET CONSTRAINTS ALL IMMEDIATE'
            USING ERRCODE = 'invalid_transaction_termination';
    END IF;
    RETURN NULL;
END $$;

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'twofold.barrier'::regclass
                                            AND tgname = 'guard') THEN
        CREATE CONSTRAINT TRIGGER guard AFTER INSERT OR UPDATE OF gid ON twofold.barrier
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (current_setting('twofold.handlers', true) = 'at work')
            EXECUTE FUNCTION twofold.guard();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'twofold.branch'::regclass
                                            AND tgname = 'guard') THEN
        CREATE CONSTRAINT TRIGGER guard AFTER INSERT ON twofold.branch
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (current_setting('twofold.handlers', true) = 'at work')
            EXECUTE FUNCTION twofold.guard();
    END IF;
END $$;
"""

_LOCK_KEY: Final = 0x74776F7061727469  # "twoparti"
_PRESENT: Final = """
    SELECT to_regclass('twofold.barrier') IS NOT NULL
       AND to_regclass('twofold.branch') IS NOT NULL
       AND to_regclass('twofold.generation') IS NOT NULL
       AND to_regproc('twofold.handlers_are_done') IS NOT NULL
"""
_NEW: Final = "SELECT to_regclass('twofold.barrier') IS NULL"


def schema_sql() -> str:
    """Return the SQL that `migrate` runs. It may be run again."""
    return SCHEMA


async def is_present(connection: Connection) -> bool:
    """Tell whether the tables and their guard are there."""
    return bool(await connection.fetchval(_PRESENT))


async def is_new(connection: Connection) -> bool:
    """Tell whether there is nothing of Twofold yet."""
    return bool(await connection.fetchval(_NEW))


async def migrate(connection: Connection, extra_sql: str = "") -> None:
    """Create what is missing, and run the participant's own set-up in the same transaction.

    Several processes may do so at once: IF NOT EXISTS alone does not make
    that safe, so they take turns.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        if not await is_present(connection):
            await connection.execute(SCHEMA)
        if extra_sql.strip():
            await connection.execute(extra_sql)
