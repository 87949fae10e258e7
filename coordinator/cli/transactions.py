"""`twofold start`, `list`, `show`."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from coordinator.cli.output import (
    NO,
    Output,
    OutputOption,
    as_json,
    as_table,
    fail,
    moment,
    span,
)
from coordinator.cli.running import ConfigFile, load_config

if TYPE_CHECKING:
    from coordinator.config import Config
    from coordinator.core.machine import State
    from coordinator.log.views import TransactionDetail, TransactionView
    from wire.messages import Outcome

T = TypeVar("T")


def _run(what: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what cannot be reached is said in one sentence."""
    from coordinator.log.store import LogUnavailable  # noqa: PLC0415
    from coordinator.service import NotReady  # noqa: PLC0415
    from wire.kafka import KafkaUnavailable  # noqa: PLC0415

    try:
        return asyncio.run(what)
    except LogUnavailable as error:
        fail(f"the decision log: {error}")
    except KafkaUnavailable as error:
        fail(f"Kafka: {error}")
    except NotReady as error:
        fail(str(error))


# ── start ────────────────────────────────────────────────────────────────────


def start(
    name: Annotated[str, typer.Argument(help="The definition.")],
    input_: Annotated[
        str, typer.Option("--input", help="A JSON object, @FILE, or - for standard input.")
    ] = "{}",
    key: Annotated[
        str | None, typer.Option("--key", help="The same key is the same transaction.")
    ] = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the outcome.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 60.0,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Start a transaction.

    Example: twofold start transfer --key t1 --wait --input '{"transfer_id": "t1", …}'
    """
    settings = load_config(config)
    value = _read_input(input_)
    key = key or secrets.token_hex(8)
    outcome = _run(_start(settings, name, key, value, timeout if wait else 0))
    if outcome is None:
        if wait:
            fail(f"no outcome within {timeout:g} s: see `twofold show {name} {key}`", code=NO)
        as_json({"definition": name, "key": key}) if output is Output.JSON else typer.echo(
            f"asked for {name} with key {key}: see `twofold show {name} {key}`"
        )
        return
    if output is Output.JSON:
        as_json(outcome)
    else:
        typer.echo(f"{outcome.outcome}  {outcome.gid}")
        if outcome.reason:
            typer.echo(f"reason: {outcome.reason}")
        if outcome.output is not None:
            typer.echo(f"output: {json.dumps(outcome.output, ensure_ascii=False)}")
    if outcome.outcome != "COMMITTED":
        raise typer.Exit(NO)


def _read_input(text: str) -> dict[str, Any]:
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            fail(f"--input: {error}", code=2)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        fail(f"--input is not JSON: {error}", code=2)
    if not isinstance(value, dict):
        fail("--input is not a JSON object", code=2)
    return value  # pyright: ignore[reportUnknownVariableType]


async def _start(
    settings: Config, name: str, key: str, value: dict[str, Any], seconds: float
) -> Outcome | None:
    from coordinator.log.postgres import PostgresLog  # noqa: PLC0415
    from coordinator.service import NotReady  # noqa: PLC0415
    from coordinator.triggers import seal_start  # noqa: PLC0415
    from wire.kafka import Producer  # noqa: PLC0415
    from wire.messages import Begin  # noqa: PLC0415
    from wire.topics import Topics  # noqa: PLC0415

    log = await PostgresLog.open(settings.log.dsn)
    try:
        facts = await log.facts()
        if name not in {d.name for d in await log.definitions()}:
            raise NotReady(
                f"no definition {name!r} is published: run `twofold serve --definitions …`"
            )
    finally:
        await log.close()
    record = seal_start(
        Begin(definition=name, key=key, input=value),
        topics=Topics(settings.kafka.prefix),
        shards=facts.shards,
        source="/twofold/cli",
        traceparent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    )
    hearing = await _Hearing.begin(settings) if seconds else None
    producer = Producer(settings.kafka.bootstrap)
    await producer.start()
    try:
        await producer.burst([record])
    finally:
        await producer.stop()
    return await hearing.hear(name, key, seconds) if hearing else None


class _Hearing:
    """Hears outcomes from before the start was sent, so that none is missed."""

    def __init__(self, settings: Config, reader: Any) -> None:
        self._settings, self._reader = settings, reader

    @classmethod
    async def begin(cls, settings: Config) -> _Hearing:
        from coordinator.service import NotReady  # noqa: PLC0415
        from wire.kafka import ShardReader, partition_counts  # noqa: PLC0415
        from wire.topics import Topics  # noqa: PLC0415

        topic = Topics(settings.kafka.prefix).outcomes
        count = (await partition_counts(settings.kafka.bootstrap, [topic])).get(topic, 0)
        if not count:
            raise NotReady(f"the topic {topic} does not exist: run `twofold topics`")
        reader = ShardReader(settings.kafka.bootstrap)
        await reader.start()
        reader.assign(await reader.ends([(topic, n) for n in range(count)]))
        return cls(settings, reader)

    async def hear(self, name: str, key: str, seconds: float) -> Outcome | None:
        """Wait for the outcome; a start that repeats an old one finds it in the log."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                for record in await self._reader.poll(wait_ms=300, limit=500):
                    outcome = _outcome_in(record)
                    if outcome and (outcome.definition, outcome.key) == (name, key):
                        return outcome
                if (before := await self._from_log(name, key)) is not None:
                    return before
        finally:
            await self._reader.stop()
        return None

    async def _from_log(self, name: str, key: str) -> Outcome | None:
        from coordinator.core.transition import Status  # noqa: PLC0415
        from wire.messages import Outcome  # noqa: PLC0415

        detail = await _detail(self._settings, name, key)
        if detail is None or detail.view.status is Status.OPEN:
            return None
        view = detail.view
        return Outcome(
            gid=view.gid,
            definition=name,
            version=view.version,
            key=key,
            outcome=str(view.outcome),
            output=_output(detail),
            reason=view.reason,
        )


def _outcome_in(record: Any) -> Outcome | None:
    from wire.envelope import Unreadable, unseal  # noqa: PLC0415
    from wire.messages import Outcome  # noqa: PLC0415

    try:
        message = unseal(record.headers, record.value).message
    except Unreadable:
        return None
    return message if isinstance(message, Outcome) else None


def _output(detail: TransactionDetail) -> Any:
    outputs = [getattr(entry.record, "output", None) for entry in detail.entries]
    return next((value for value in outputs if value is not None), None)


# ── list ─────────────────────────────────────────────────────────────────────


def list_(
    status: Annotated[str | None, typer.Option("--status", help="open, parked or ended.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="A definition.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="A start key.")] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 20,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List transactions, the newest first.

    Example: twofold list --status parked
    """
    from coordinator.core.transition import Status  # noqa: PLC0415

    if status is not None and status not in set(Status):
        fail(f"--status is open, parked or ended, not {status!r}", code=2)
    settings = load_config(config)
    wanted = Status(status) if status else None
    views = _run(_list(settings, wanted, name, key, limit))
    if output is Output.JSON:
        as_json([view._asdict() for view in views])
        return
    rows = [_row(view) for view in views]
    as_table(("GID", "NAME", "KEY", "STATE", "AGE", "REASON"), rows)


async def _list(
    settings: Config, status: Any, name: str | None, key: str | None, limit: int
) -> list[TransactionView]:
    from coordinator.log.views import list_transactions  # noqa: PLC0415

    connection = await _connect(settings)
    try:
        found = await list_transactions(connection, status=status, name=name, key=key, limit=limit)
    finally:
        await connection.close()
    return list(found)


def _row(view: TransactionView) -> tuple[str, ...]:
    age = span(time.time_ns() // 1000 - view.began_us)
    state = view.outcome or view.status
    return (view.gid, view.name, view.key, str(state), age, view.reason)


# ── show ─────────────────────────────────────────────────────────────────────


def show(
    what: Annotated[str, typer.Argument(help="A gid, or the name of a definition.")],
    key: Annotated[str | None, typer.Argument(help="With a name: the start key.")] = None,
    config: ConfigFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show all that is known of a transaction.

    Example: twofold show transfer t1
    """
    settings = load_config(config)
    detail = _run(_detail(settings, what, key))
    if detail is None:
        named = what if key is None else f"{what} with key {key}"
        fail(f"there is no transaction {named}", code=NO)
    from coordinator.core import machine  # noqa: PLC0415
    from sagas.loader import load  # noqa: PLC0415

    definition = load(detail.definition.source, detail.definition.name)
    state = machine.recover(detail.view.gid, definition, detail.entries)
    if output is Output.JSON:
        as_json(_as_object(detail, state))
    else:
        _print(detail, state)


async def _detail(settings: Config, what: str, key: str | None) -> TransactionDetail | None:
    from coordinator.log import views  # noqa: PLC0415

    connection = await _connect(settings)
    try:
        gid = what
        if key is not None:
            found = await views.find_by_key(connection, what, key)
            if found is None:
                return None
            gid = found.gid
        return await views.show(connection, gid)
    finally:
        await connection.close()


async def _connect(settings: Config) -> Any:
    import asyncpg  # noqa: PLC0415

    from coordinator.cli.running import masked  # noqa: PLC0415
    from coordinator.log.store import LogUnavailable  # noqa: PLC0415

    try:
        return await asyncpg.connect(settings.log.dsn, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LogUnavailable(f"{masked(settings.log.dsn)}: {error}") from error


def _as_object(detail: TransactionDetail, state: State) -> dict[str, Any]:
    from coordinator.cli import plain  # noqa: PLC0415

    now_us = time.time_ns() // 1000
    return {
        **detail.view._asdict(),
        "phase": state.phase,
        "trace": _trace(state),
        "waits": plain.why_it_waits(state, now_us),
        "parts": [part._asdict() for part in plain.parts(state)],
        "output": _output(detail),
        "history": [
            {"seq": e.seq, "at_us": e.at_us, "record": e.record, "text": plain.sentence(e.record)}
            for e in detail.entries
        ],
    }


def _trace(state: State) -> str:
    return state.begun.traceparent[3:35]


def _print(detail: TransactionDetail, state: State) -> None:
    from coordinator.cli import plain  # noqa: PLC0415

    view = detail.view
    began = detail.entries[0].at_us
    typer.echo(f"{view.name} version {view.version}, key {view.key}")
    typer.echo(f"gid      {view.gid}")
    typer.echo(
        f"state    {view.outcome or state.phase}" + (f": {view.reason}" if view.reason else "")
    )
    lasted = (view.ended_us or time.time_ns() // 1000) - began
    typer.echo(f"began    {moment(began)}, {'took' if view.ended_us else 'for'} {span(lasted)}")
    typer.echo(f"trace    {_trace(state)}")
    if view.ended_us is None:
        typer.echo(f"waits    {plain.why_it_waits(state, time.time_ns() // 1000)}")
    typer.echo("")
    rows = [
        (part.name, part.call, part.state, str(part.attempt or "-"), part.reason)
        for part in plain.parts(state)
    ]
    as_table(
        ("STEP" if state.definition.kind == "saga" else "BRANCH", "CALL", "STATE", "TRY", ""), rows
    )
    typer.echo("")
    for entry in detail.entries:
        typer.echo(f"  +{span(entry.at_us - began):>8}  {plain.sentence(entry.record)}")
