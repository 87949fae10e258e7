"""Nobody acts on the old log any more."""

from __future__ import annotations

import asyncio
from typing import Final

from coordinator.cli.errors import Trouble
from coordinator.cli.nodes import Lookout, View, coordinator_life
from coordinator.presence import Life

LOOK_AGAIN_S: Final = 0.5


async def quiet(lookout: Lookout, seconds: float) -> None:
    """Wait until no coordinator is heard of any more.

    Raises:
        Trouble: one still is.

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
    return None
