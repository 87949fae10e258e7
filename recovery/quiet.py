"""Nobody acts on the old log any more: no coordinator, and no command that is still to be done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from coordinator.cli.errors import Trouble
from coordinator.cli.nodes import Lookout, ParticipantView, View, coordinator_life
from coordinator.presence import Life

LOOK_AGAIN_S: Final = 0.5


async def quiet(lookout: Lookout, seconds: float) -> None:
    """Wait until nobody acts on the old log any more.

    Raises:
        Trouble: somebody still does; or a participant has not finished, and
            what it would have done cannot be known.

    """
    deadline = asyncio.get_running_loop().time() + seconds
    while trouble := _unquiet(await lookout.look()):
        if asyncio.get_running_loop().time() > deadline:
            raise trouble
        await asyncio.sleep(LOOK_AGAIN_S)


def _unquiet(view: View) -> Trouble | None:
    alive = [one.id for one in view.coordinators if coordinator_life(one) is not Life.GONE]
    if alive:
        return Trouble(f"coordinators run: {', '.join(alive)}.", "Stop all of them first.")
    behind = [one for one in view.participants if one.needed and one.behind != 0]
    if behind:
        return Trouble(
            f"participants have not finished what they were sent: {_said(behind)}.",
            "Let their services run, and catch up: `twofold nodes` shows how far they are.",
        )
    return None


def _said(behind: Sequence[ParticipantView]) -> str:
    return ", ".join(
        f"{one.name} ({'nobody serves it' if one.behind is None else f'{one.behind} behind'})"
        for one in behind
    )
