"""`twofold locks`: who has which lock, since when, and who waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from coordinator.cli import plain, reach
from coordinator.cli.output import Output, as_json, as_table, note
from coordinator.core.lock import Claim
from coordinator.log import claims


class Line(NamedTuple):
    """One claim, and what is known of whose it is."""

    lock: str
    claim: Claim
    holds: bool
    who: claims.Claimant | None

    @property
    def since_us(self) -> int:
        """Since when it has the lock, or waits for it."""
        held_us = self.claim.held_us
        return held_us if self.holds and held_us is not None else self.claim.asked_us

    @property
    def state(self) -> str:
        """Say whether it has the lock; and if it will do nothing by itself, why."""
        stands = "holds" if self.holds else "waits"
        if self.who is None or self.who.status == "ended":
            return f"{stands}, and is over: it is asked to give the lock back"
        return f"{stands}, and is parked" if self.who.status == "parked" else stands


async def locks(file: Path | None, *, lock: str | None, limit: int, output: Output) -> None:
    """Print the first claims on all locks, or on one, each lock's holder first."""
    config = reach.settings(file)
    found: list[tuple[str, Claim]] = []
    known: dict[str, claims.Claimant] = {}
    async with reach.logs(config) as logs:
        now_us = (await reach.facts(logs[0])).now_us
        for log in logs:
            found += await claims.list_claims(log, lock, limit)
        for log in logs:
            # Whose it is may be in another store than the lock.
            known |= await claims.claimants(log, [claim.gid for _, claim in found])
    lines: list[Line] = []
    for name, claim in sorted(found, key=lambda one: (one[0], one[1].place))[:limit]:
        holds = not lines or lines[-1].lock != name
        lines.append(Line(name, claim, holds, known.get(claim.gid)))
    if output is Output.JSON:
        as_json([_as_json(line) for line in lines])
        return
    as_table(("LOCK", "STATE", "SINCE", "GID", "NAME", "KEY"), [_row(one, now_us) for one in lines])
    if len(lines) == limit:
        note(f"the first {limit}; --limit shows more, and a lock's name only that one's")
    if not lines:
        note("nobody has a lock" if lock is None else f"nobody has the lock {lock}")


def _row(line: Line, now_us: int) -> tuple[str, ...]:
    since = plain.span(max(0, now_us - line.since_us))
    name, key = (line.who.name, line.who.key) if line.who else ("", "")
    return (line.lock, line.state, since, line.claim.gid, name, key)


def _as_json(line: Line) -> dict[str, Any]:
    return {
        "lock": line.lock,
        "holds": line.holds,
        "since": plain.moment(line.since_us),
        "gid": line.claim.gid,
        "name": line.who.name if line.who else None,
        "key": line.who.key if line.who else None,
        "status": line.who.status if line.who else None,
    }
