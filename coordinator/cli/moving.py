"""What would become of parked sagas under another version, before `twofold move` orders it.

It is found by obeying the order here, on what the log says, and throwing the
result away: the coordinator decides by the same function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coordinator.cli import ordering, plain
from coordinator.cli.errors import Trouble
from coordinator.cli.output import Output, as_json, as_table, note, say
from coordinator.cli.story import Story
from coordinator.core import machine
from coordinator.core.records import Ordered
from coordinator.core.saga_state import Phase, SagaState, StepPhase
from coordinator.core.transition import Transition
from coordinator.definitions import understood
from coordinator.log.store import StoredDefinition
from coordinator.log.views import TransactionDetail, TransactionView, published
from coordinator.log.views import show as read
from sagas.difference import Difference, StepDifference, difference
from sagas.model import AnyDefinition


class Outlook(NamedTuple):
    """What would become of one transaction: why it is refused, or what would follow."""

    view: TransactionView
    refused: str
    then: str


async def choose(
    output: Output,
    logs: Sequence[Any],
    views: Sequence[TransactionView],
    wanted: ordering.Wanted,
) -> ordering.Choice:
    """Show what differs, and what would become of each; ask whether it is to be done."""
    names = sorted({view.name for view in views})
    if len(names) > 1:
        what = f"these are transactions of {plain.names(names)}."
        raise Trouble(what, "Move those of one definition at a time: --name.")
    known = {one.version: one for log in logs for one in await published(log, names[0])}
    to = known.get(wanted.to or max(known))
    if to is None:
        what = f"{names[0]} version {wanted.to} is not published."
        raise Trouble(what, "`twofold versions` shows what is; `twofold publish` adds to it.")
    wanted = wanted._replace(to=to.version)
    found = [detail for view in views for log in logs if (detail := await read(log, view.gid))]
    outlooks = [_outlook(detail, understood(to), wanted) for detail in found]
    able = [one.view for one in outlooks if not one.refused]
    older = sorted({view.version for view in views} - {to.version})
    differences = {version: difference(known[version].source, to.source) for version in older}
    if output is Output.TEXT:
        _print(to, differences, outlooks)
    elif not wanted.yes:
        as_json(_as_json(to, differences, outlooks))
    if not able:
        note("none of these can be moved: nothing was ordered")
        return None
    asking = output is Output.TEXT or wanted.yes
    return (able, wanted) if asking and ordering.agreed(wanted) else None


def _outlook(detail: TransactionDetail, to: AnyDefinition, wanted: ordering.Wanted) -> Outlook:
    gid, at_us = detail.view.gid, detail.entries[-1].at_us
    versions = [understood(version) for version in detail.versions]
    definition = understood(detail.definition, detail.followed)
    state = Story.of(gid, definition, detail.entries, at_us, versions).state
    step = machine.obey(state, ordering.order_of(detail.view, wanted), at_us, to)
    ordered = step.records[0]
    assert isinstance(ordered, Ordered), "an order is written down before all else"
    then = "" if ordered.refused else "; ".join(_then(step))
    return Outlook(detail.view, ordered.refused, then)


def _then(step: Transition[Any]) -> Iterator[str]:
    """Say what has begun and stays as it is, and what comes next."""
    saga = step.state
    assert isinstance(saga, SagaState), f"{saga.gid} is moved"
    under_way = (StepPhase.RUNNING, StepPhase.UNDOING)
    kept = [n for n, at in saga.steps.items() if saga.has_begun(n) and at.phase not in under_way]
    if kept:
        yield f"keeps {plain.names(kept)}"
    if saga.phase is Phase.PARKED:
        yield f"is parked again ({saga.reason})"
    elif saga.outcome is not None:
        yield f"ends {saga.outcome}"
    for what, phase in zip(("goes on with", "undoes"), under_way, strict=True):
        if some := [one.name for one, _ in saga.in_phase(phase)]:
            yield f"{what} {plain.names(some)}"


def _print(
    to: StoredDefinition, differences: Mapping[int, Difference], outlooks: Sequence[Outlook]
) -> None:
    for version, found in differences.items():
        say(f"{to.name}, version {version} → {to.version}")
        for words in found.words:
            say(f"  {words}")
        as_table(("  STEP", "", ""), [row for step in found.steps for row in _rows(step)])
        say()
    rows = [
        (one.view.gid, one.view.key, f"refused: {one.refused}" if one.refused else one.then)
        for one in outlooks
    ]
    as_table(("GID", "KEY", "WOULD"), rows)


def _rows(step: StepDifference) -> Iterator[tuple[str, str, str]]:
    first, *more = step.words or ("",)
    yield f"  {step.name}", str(step.how), first
    yield from (("", "", words) for words in more)


def _as_json(
    to: StoredDefinition, differences: Mapping[int, Difference], outlooks: Sequence[Outlook]
) -> dict[str, Any]:
    return {
        "name": to.name,
        "to": to.version,
        "differences": [
            {"from": version, "words": found.words, "steps": [s._asdict() for s in found.steps]}
            for version, found in differences.items()
        ],
        "transactions": [
            {
                "gid": one.view.gid,
                "key": one.view.key,
                "from": one.view.version,
                "refused": one.refused or None,
                "then": one.then or None,
            }
            for one in outlooks
        ],
    }
