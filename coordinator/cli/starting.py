"""`twofold start`: ask for a transaction, see that it is taken, and wait for its end.

The start itself is a message. Whether it was taken is in the log; that it was
refused is on the topic of outcomes, which is read from before the start is sent.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from coordinator.cli import reach
from coordinator.cli.errors import Trouble
from coordinator.cli.output import Output, as_json, compact, note, say
from coordinator.cli.plain import span
from coordinator.config import Config
from coordinator.core.records import Begun, Outcome
from coordinator.core.transition import Status
from coordinator.log.views import TransactionDetail, definitions, find_by_key
from coordinator.log.views import show as read
from coordinator.recall import input_hash
from coordinator.triggers import seal_start
from sagas.problems import did_you_mean
from wire import gids
from wire.envelope import MAX_BODY_BYTES, Record, Unreadable, unseal
from wire.kafka import Producer, Received, ShardReader, partition_counts
from wire.messages import Begin, Json
from wire.messages import Outcome as OutcomeMessage
from wire.topics import Topics

TAKEN_S: Final = 10.0
"""How long a start may lie in its topic before we say that nobody takes it."""

POLL_MS: Final = 100


class Wanted(NamedTuple):
    """What was asked for."""

    name: str
    key: str | None
    input: dict[str, Json]
    wait: bool
    seconds: float | None


class Refused(Exception):
    """The coordinator, or what it would look at, says no."""


def read_input(text: str) -> dict[str, Json]:
    """Read an input: JSON, @FILE, or - for standard input."""
    raw = text.encode()
    if text == "-":
        raw = sys.stdin.buffer.read()
    elif text.startswith("@"):
        raw = Path(text[1:]).read_bytes()
    try:
        value: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Trouble(
            f"--input is not JSON: {error}.", "Give an object, or @FILE, or - for standard input."
        ) from error
    if not isinstance(value, dict):
        raise Trouble("--input is JSON, but not an object.", 'Write it as {"name": value, …}.')
    return cast("dict[str, Json]", value)


async def start(file: Path | None, wanted: Wanted, output: Output) -> bool:
    """Start, and tell what became of it; False if it was refused or did not end as COMMITTED."""
    config = reach.settings(file)
    key = wanted.key if wanted.key is not None else f"cli-{secrets.token_hex(8)}"
    begin = Begin(definition=wanted.name, key=key, input=wanted.input)
    async with reach.log_connection(config.log.dsn) as first:
        facts = await reach.facts(first)
    shard = gids.shard_of_start(begin.definition, begin.key, facts.shards)
    async with reach.log_connection(config.log.store_of(shard)) as log:
        try:
            _check(begin, [stored.name for stored in await definitions(log)])
            record = _seal(begin, config, facts.shards)
            if wanted.key is None:
                note(f"the key is {key}")
            with reach.kafka(config):
                detail = await _begin(log, config, begin, record)
        except Refused as refusal:
            _print_refusal(begin, str(refusal), output)
            return False
        if wanted.wait:
            detail = await _end(log, detail, wanted.seconds)
    _print(detail, output)
    return not wanted.wait or detail.view.outcome is Outcome.COMMITTED


def _check(begin: Begin, names: list[str]) -> None:
    """Refuse what the coordinator would put among the dead letters."""
    if begin.definition not in names:
        hint = did_you_mean(begin.definition, set(names)) or "none is published yet"
        raise Refused(f"no definition {begin.definition!r} is published: {hint}")
    if not gids.is_start_key(begin.key):
        raise Refused(gids.KEY_RULE)


def _seal(begin: Begin, config: Config, shards: int) -> Record:
    fresh = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    record = seal_start(
        begin,
        topics=Topics(config.kafka.prefix),
        shards=shards,
        source="/twofold/cli",
        traceparent=os.environ.get("TRACEPARENT") or fresh,
    )
    size = len(record.value or b"")
    if size > MAX_BODY_BYTES:
        raise Refused(f"its input has {size} bytes, over {MAX_BODY_BYTES}")
    return record


# ── taken, or refused ────────────────────────────────────────────────────────


async def _begin(log: Any, config: Config, begin: Begin, record: Record) -> TransactionDetail:
    """Send the start, and wait until a coordinator has taken or refused it."""
    async with _outcomes(config) as outcomes:
        async with Producer(config.kafka.bootstrap) as producer:
            await producer.burst([record])
        given_up = time.monotonic() + TAKEN_S
        while time.monotonic() < given_up:
            for received in await outcomes.poll(wait_ms=POLL_MS, limit=500):
                if (reason := _refusal(received, begin)) is not None:
                    raise Refused(reason)
            detail = await _taken(log, begin)
            if detail is not None:
                return detail
    raise Trouble(
        f"no coordinator has taken the start within {TAKEN_S:g} s.",
        "It stays in its topic, and begins once one runs: `twofold serve`."
        f" See `twofold show {begin.definition} {begin.key}`.",
    )


@asynccontextmanager
async def _outcomes(config: Config) -> AsyncGenerator[ShardReader]:
    """Read the topic of outcomes, from now on."""
    topics = Topics(config.kafka.prefix)
    counts = await partition_counts(config.kafka.bootstrap, [topics.requests, topics.outcomes])
    for topic in (topics.requests, topics.outcomes):
        if not counts.get(topic):
            raise Trouble(f"the topic {topic} does not exist.", "Run `twofold topics`.")
    async with ShardReader(config.kafka.bootstrap) as reader:
        places = [(topics.outcomes, n) for n in range(counts[topics.outcomes])]
        reader.assign(await reader.ends(places))
        yield reader


def _refusal(received: Received, begin: Begin) -> str | None:
    try:
        message = unseal(received.headers, received.value).message
    except Unreadable:
        return None
    if not isinstance(message, OutcomeMessage) or message.outcome != "REFUSED":
        return None
    ours = (message.definition, message.key) == (begin.definition, begin.key)
    return message.reason if ours else None


async def _taken(log: Any, begin: Begin) -> TransactionDetail | None:
    """Find the transaction of this key, if it is the one that was asked for."""
    view = await find_by_key(log, begin.definition, begin.key)
    detail = await read(log, view.gid) if view is not None else None
    if detail is None:
        return None
    begun = detail.entries[0].record
    assert isinstance(begun, Begun)
    if input_hash(begun.input) != input_hash(begin.input):
        raise Refused(
            f"the key {begin.key!r} has begun {detail.view.gid} already, and its input is"
            " another one"
        )
    return detail


# ── the end ──────────────────────────────────────────────────────────────────


async def _end(log: Any, detail: TransactionDetail, seconds: float | None) -> TransactionDetail:
    """Wait until it has ended, or is parked."""
    given_up = time.monotonic() + seconds if seconds is not None else None
    pause_s = 0.02
    while detail.view.status is Status.OPEN:
        if given_up is not None and time.monotonic() >= given_up:
            raise Trouble(
                f"{detail.view.gid} has not ended within {seconds:g} s, and goes on.",
                f"See `twofold show {detail.view.gid}`.",
            )
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.5)
        now = await read(log, detail.view.gid)
        detail = now if now is not None else detail
    return detail


# ── what is told ─────────────────────────────────────────────────────────────


def output_of(detail: TransactionDetail) -> Json:
    """Find the output of a transaction in its log."""
    outputs = (getattr(entry.record, "output", None) for entry in detail.entries)
    return next((value for value in outputs if value is not None), None)


def _print(detail: TransactionDetail, output: Output) -> None:
    view, result = detail.view, output_of(detail)
    if output is Output.JSON:
        told = {"gid": view.gid, "name": view.name, "version": view.version, "key": view.key}
        ended = {"status": view.status, "outcome": view.outcome, "reason": view.reason}
        as_json({**told, **ended, "output": result})
        return
    say(f"gid      {view.gid}")
    say(f"key      {view.key}")
    took = f" after {span(view.ended_us - view.began_us)}" if view.ended_us else ""
    say(f"outcome  {view.outcome or 'open'}{took}")
    if view.reason:
        say(f"reason   {view.reason}")
    if result is not None:
        say(f"output   {compact(result)}")


def _print_refusal(begin: Begin, reason: str, output: Output) -> None:
    if output is Output.JSON:
        as_json(
            {"name": begin.definition, "key": begin.key, "outcome": "REFUSED", "reason": reason}
        )
    else:
        say(f"key      {begin.key}")
        say("outcome  REFUSED")
        say(f"reason   {reason}")
