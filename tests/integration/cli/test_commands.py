"""The `twofold` command as a person uses it: real Kafka, real Postgres, real processes."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import asyncpg
import pytest

from compose.local.stack import Kafka, Postgres
from tests.integration.cli.shell import DEFINITION, SHARDS, Shell, lines_until
from wire.kafka import create_topics

# ── before anything runs ─────────────────────────────────────────────────────


async def test_a_database_without_a_log_says_what_to_run(shell: Shell) -> None:
    """Each command that needs the log does, and none has a traceback."""
    for args in (["list"], ["show", "x"], ["topics"], ["start", "errand"]):
        done = await shell.run(*args)
        assert done.code == 3
        assert "Run `twofold migrate`" in done.err


async def test_a_database_that_is_not_there_says_how_to_create_it(
    shell: Shell, postgres: Postgres
) -> None:
    """The database is the user's to create."""
    other = Shell(shell.directory, {"TWOFOLD_LOG__DSN": postgres.dsn("nobody-made-me")})

    done = await other.run("migrate")

    assert done.code == 3
    assert "createdb " in done.err
    assert "nobody-made-me" in done.err


async def test_the_plan_is_what_migrate_would_do(shell: Shell, postgres: Postgres) -> None:
    """Run by hand, it leaves nothing to do; printing it changes nothing."""
    postgres.create_database("cli_by_hand")
    dsn = postgres.dsn("cli_by_hand")
    by_hand = Shell(shell.directory, {**shell.environment, "TWOFOLD_LOG__DSN": dsn})
    plan = (await by_hand.run("migrate", "--plan")).out
    assert plan == (await by_hand.run("migrate", "--plan")).out

    connection: Any = await asyncpg.connect(dsn)
    await connection.execute(plan)
    await connection.close()

    assert (await by_hand.run("migrate", "--plan")).out == "-- nothing to do\n"
    told = await by_hand.json("migrate")
    assert told == {"applied": [], "cluster": "main", "shards": SHARDS}


async def test_a_log_keeps_its_number_of_shards(ready: Shell) -> None:
    """It is part of the name of every transaction."""
    other = Shell(ready.directory, {**ready.environment, "TWOFOLD_LOG__SHARDS": "5"})

    done = await other.run("migrate")

    assert done.code == 3
    assert "fixed when a log is created" in done.err


async def test_topics_are_created_once_and_then_checked(ready: Shell) -> None:
    """Ours, and those of definitions, published or shown."""
    shown = ["topics", "--definitions", str(ready.directory)]
    again = await ready.run(*shown)
    assert again.code == 0
    assert "created" not in again.out

    report = await ready.json(*shown, "--check")
    assert {line["topic"] for line in report} == {
        "commands.requests",
        "commands.replies",
        "commands.outcomes",
        "commands.dead-letters",
        "commands.heartbeats",
        "commands.marks",
        "clerk.commands",
    }
    assert all(line["ok"] for line in report)


async def test_topics_that_are_wrong_are_listed(ready: Shell, kafka: Kafka) -> None:
    """A number of partitions that is not that of the shards cannot be mended."""
    await create_topics(kafka.bootstrap, {"cli2.replies": 3}, replication=1, config={})
    other = Shell(ready.directory, {**ready.environment, "TWOFOLD_KAFKA__PREFIX": "cli2"})

    done = await other.run("topics", "--check")

    assert done.code == 1
    assert "wrong: 3 partitions, and the log has 2 shards" in done.out
    assert done.out.count("missing") == 5


async def test_a_start_that_nobody_takes_says_so(ready: Shell) -> None:
    """It is not lost: its topic keeps it."""
    connection: Any = await asyncpg.connect(ready.environment["TWOFOLD_LOG__DSN"])
    await connection.execute(
        "INSERT INTO twofold.definition (hash, name, version, source) VALUES ('h', 'later', 1, $1)",
        DEFINITION.replace("saga: errand", "saga: later"),
    )
    await connection.close()

    done = await ready.run("start", "later", "--key", "1", "--input", '{"how": "ok"}')

    assert done.code == 3
    assert "no coordinator has taken the start" in done.err


# ── with a coordinator ───────────────────────────────────────────────────────


async def test_a_start_is_followed_to_its_end(running: Shell) -> None:
    """Outcome and output; the same start again is the same transaction."""
    done = await running.errand("k-ok", "ok", "--wait")
    assert done.code == 0
    assert "COMMITTED" in done.out
    assert '{"bought":"milk"}' in done.out

    again = await running.errand("k-ok", "ok", "--wait", "-o", "json")
    told = json.loads(again.out)
    assert (again.code, told["outcome"], told["output"]) == (0, "COMMITTED", {"bought": "milk"})
    assert told["gid"] in done.out


async def test_a_start_without_a_key_gets_one(running: Shell) -> None:
    """It is told, so that it can be asked for again."""
    told = await running.json("start", "errand", "--input", '{"how": "ok"}')

    assert told["key"].startswith("cli-")
    assert (await running.run("show", "errand", told["key"])).code == 0


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("errand", {"how": "refuse"}, "its input is another one"),
        ("errand", {}, "'how' is a required property"),
        ("erand", {"how": "ok"}, "did you mean `errand`?"),
    ],
)
async def test_a_refused_start_is_seen(
    running: Shell, name: str, given: dict[str, str], reason: str
) -> None:
    """Also without --wait; the reason is the coordinator's."""
    await running.errand("k-taken", "ok")
    key = "k-taken" if given.get("how") else "k-new"

    done = await running.run("start", name, "--key", key, "--input", json.dumps(given))

    assert done.code == 1
    assert "REFUSED" in done.out
    assert reason in done.out


async def test_an_end_that_is_not_a_commit_is_a_no(running: Shell) -> None:
    """Exit code 1, and the reason; `show` tells how it came about."""
    done = await running.errand("k-no", "refuse", "--wait")
    assert done.code == 1
    assert "COMPENSATED" in done.out
    assert "buy: sold out" in done.out

    shown = (await running.run("show", "errand", "k-no")).out
    for line in ("buy was refused (sold out)", "turned back: buy: sold out", "go is undone"):
        assert line in shown


async def test_one_that_waits_says_for_whom(running: Shell) -> None:
    """And who takes care of it; the start can stop waiting for it."""
    done = await running.errand("k-open", "silent", "--wait", "--timeout", "0.5")
    assert done.code == 3
    assert "has not ended within 0.5 s" in done.err

    shown = (await running.run("show", "errand", "k-open")).out
    assert "waits   for clerk to answer clerk.buy (attempt 1 of 5) until" in shown
    assert " has shard " in shown
    told = await running.json("show", "errand", "k-open")
    assert told["owner"]["alive"]
    assert told["waits"].startswith("for clerk to answer clerk.buy")
    [go, buy] = told["parts"]
    assert (go["state"], go["result"]) == ("done", {"what": "milk"})
    assert (buy["state"], buy["attempt"], buy["attempts"]) == ("running", 1, 5)
    assert buy["timeout_at"] > buy["since"]
    assert [entry["record"]["kind"] for entry in told["history"]] == ["begun", "step-done"]
    assert told == {**told, **(await running.json("show", told["gid"]))} | {"waits": told["waits"]}


async def test_the_list_can_be_narrowed(running: Shell) -> None:
    """By status, name and key; the newest first."""
    await running.errand("k-listed", "ok", "--wait")
    await running.errand("k-pending", "silent")

    everything = await running.json("list", "--name", "errand")
    began = [view["began_at"] for view in everything]
    assert began == sorted(began, reverse=True)
    open_ones = await running.json("list", "--status", "open")
    assert "k-pending" in {view["key"] for view in open_ones}
    assert {view["status"] for view in open_ones} == {"open"}
    [one] = await running.json("list", "--name", "errand", "--key", "k-listed")
    assert (one["outcome"], one["name"]) == ("COMMITTED", "errand")
    table = (await running.run("list", "--limit", "1")).out.splitlines()
    assert table[0].split() == ["GID", "NAME", "KEY", "STATE", "AGE", "REASON"]
    assert len(table) == 2


@pytest.mark.parametrize("args", [["nope"], ["errand", "nope"]])
async def test_what_is_not_there_is_a_no(running: Shell, args: list[str]) -> None:
    """By gid, and by name and key."""
    done = await running.run("show", *args)

    assert (done.code, done.out) == (1, "")
    assert "there is no transaction" in done.err


async def test_ctrl_c_is_quiet(running: Shell) -> None:
    """Nobody who stops waiting wants a traceback."""
    given = '{"how": "silent"}'
    process = await running.start("start", "errand", "--input", given, "--wait")
    await lines_until(process, "the key is")
    await asyncio.sleep(1)
    process.send_signal(signal.SIGINT)

    done = await running.end(process)

    assert (done.code, done.out, done.err) == (130, "", "")
