"""`twofold list` and `twofold show`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from coordinator.cli import plain, reach
from coordinator.cli.errors import Trouble
from coordinator.cli.output import Output, as_json, as_table, compact, note, say
from coordinator.cli.reach import Owner
from coordinator.cli.story import Part, Story
from coordinator.core.transition import Status
from coordinator.definitions import understood
from coordinator.log.views import TransactionDetail, TransactionView, find_by_key, list_transactions
from coordinator.log.views import show as read
from sagas.search import term

# ── list ─────────────────────────────────────────────────────────────────────


async def list_(
    file: Path | None,
    *,
    status: str | None,
    name: str | None,
    key: str | None,
    where: Sequence[str],
    limit: int,
    output: Output,
) -> None:
    """Print transactions, the newest first."""
    words = [_word(condition) for condition in where]
    config = reach.settings(file)
    wanted = Status(status) if status is not None else None
    views: list[TransactionView] = []
    async with reach.logs(config) as logs:
        now_us = (await reach.facts(logs[0])).now_us
        for log in logs:
            views += await list_transactions(
                log, status=wanted, name=name, key=key, words=words, limit=limit
            )
    views = sorted(views, key=lambda view: (view.began_us, view.gid), reverse=True)[:limit]
    if output is Output.JSON:
        as_json([_as_json(view) for view in views])
        return
    as_table(
        ("GID", "NAME", "KEY", "STATE", "AGE", "REASON"), [_row(view, now_us) for view in views]
    )
    if len(views) == limit:
        note(f"the newest {limit}; --limit shows more")


def _row(view: TransactionView, now_us: int) -> tuple[str, ...]:
    state = str(view.outcome or view.status)
    age = plain.span(max(0, now_us - view.began_us))
    return (view.gid, view.name, view.key, state, age, view.reason)


def _word(condition: str) -> str:
    field, equals, value = condition.partition("=")
    if not equals or not field:
        hint = "Write --where FIELD=VALUE; FIELD is in `index` of the definition."
        raise Trouble(f"`{condition}` is no condition.", hint)
    return term(field, value)


def _as_json(view: TransactionView) -> dict[str, Any]:
    return {
        "gid": view.gid,
        "name": view.name,
        "version": view.version,
        "key": view.key,
        "shard": view.shard,
        "status": view.status,
        "outcome": view.outcome,
        "reason": view.reason,
        "began_at": plain.moment(view.began_us),
        "ended_at": plain.moment(view.ended_us) if view.ended_us is not None else None,
    }


# ── show ─────────────────────────────────────────────────────────────────────


async def show(file: Path | None, what: str, key: str | None, output: Output) -> bool:
    """Print all that is known of a transaction; False if there is none."""
    config = reach.settings(file)
    detail: TransactionDetail | None = None
    owner: Owner | None = None
    parked: list[TransactionView] = []
    async with reach.logs(config, gid=what if key is None else None) as logs:
        now_us = (await reach.facts(logs[0])).now_us
        for log in logs:
            found = await find_by_key(log, what, key) if key is not None else None
            gid = what if key is None else found.gid if found else None
            detail = await read(log, gid) if gid is not None else None
            if detail is not None:
                owner = await reach.owner(log, detail.view.shard)
                parked = [one async for one in _parked_parts(log, detail, now_us)]
                break
    if detail is None:
        named = f"{what} with the key {key}" if key is not None else what
        hint = "" if key is not None else "; it is named by its gid, or by NAME and KEY"
        note(f"there is no transaction {named}{hint}")
        return False
    view, story = detail.view, _story(detail, now_us)
    if output is Output.JSON:
        owned = None if owner is None else {"replica": owner.replica, "alive": owner.alive}
        waits = {"parked_parts": [_as_json(one) for one in parked]}
        as_json({**_as_json(view), "owner": owned, **waits, **story.as_json()})
        return True
    _print_header(view, story, owner, parked)
    _print_parts(story.parts, story)
    _print_history(story)
    return True


def _story(detail: TransactionDetail, now_us: int) -> Story:
    definition = understood(detail.definition, detail.followed)
    versions = [understood(version) for version in detail.versions]
    return Story.of(detail.view.gid, definition, detail.entries, now_us, versions)


async def _parked_parts(
    log: Any, detail: TransactionDetail, now_us: int
) -> AsyncIterator[TransactionView]:
    """Yield what is parked of all that it waits for, and that these wait for."""
    for gid in _story(detail, now_us).awaited:
        part = await read(log, gid)
        if part is None:
            continue
        if part.view.status is Status.PARKED:
            yield part.view
        async for below in _parked_parts(log, part, now_us):
            yield below


def _print_header(
    view: TransactionView, story: Story, owner: Owner | None, parked: Sequence[TransactionView]
) -> None:
    say(f"{story.definition.kind} {view.name} version {view.version}, key {view.key}")
    began = f"began {plain.moment(view.began_us)}"
    if view.ended_us is not None:
        when = f"{began}, ended after {plain.span(view.ended_us - view.began_us)}"
    else:
        when = f"{began}, {plain.span(max(0, story.now_us - view.began_us))} ago"
    lines = [
        ("gid", view.gid),
        ("part of", story.state.begun.parent),
        ("state", f"{view.outcome or story.state.phase}; {when}"),
        ("reason", view.reason),
        ("waits", story.waits),
        *(("parked", f"{one.gid}, a part of it: {one.reason}") for one in parked),
        ("owner", _owner(view, owner) if view.status is Status.OPEN else ""),
        ("trace", story.trace or ""),
        ("input", compact(story.input)),
        ("output", compact(story.output) if story.output is not None else ""),
    ]
    for name, said in lines:
        if said:
            say(f"  {name:7} {said}")


def _owner(view: TransactionView, owner: Owner | None) -> str:
    if owner is None or not owner.alive:
        last = f"; the last was {owner.replica}" if owner is not None else ""
        return f"nobody has shard {view.shard}{last}: start a coordinator, `twofold serve`"
    return f"{owner.replica} has shard {view.shard}"


def _print_parts(parts: list[Part], story: Story) -> None:
    say()
    kind = "STEP" if story.definition.kind == "saga" else "BRANCH"
    rows = [
        (
            part.name,
            part.call,
            part.state,
            _attempt(part),
            plain.clock(part.since_us) if part.since_us is not None else "",
            _note(part, story.now_us),
        )
        for part in parts
    ]
    as_table((kind, "CALL", "STATE", "ATTEMPT", "SINCE", ""), rows)


def _attempt(part: Part) -> str:
    if part.attempt is None:
        return ""
    return f"{part.attempt} of {part.attempts}" if part.attempts else str(part.attempt)


def _note(part: Part, now_us: int) -> str:
    said = [part.note]
    if part.next_try_us is not None:
        said.append(f"tried again at {plain.until(part.next_try_us, now_us)}")
    if part.timeout_us is not None:
        said.append(f"times out at {plain.until(part.timeout_us, now_us)}")
    if part.result is not None:
        said.append(f"returned {compact(part.result, 120)}")
    return "; ".join(text for text in said if text)


def _print_history(story: Story) -> None:
    say()
    began_us = story.entries[0].at_us
    rows = [
        (plain.moment(entry.at_us), f"+{plain.span(entry.at_us - began_us)}", said)
        for entry, said in story.history()
    ]
    as_table(("TIME", "", "WHAT HAPPENED"), rows)
