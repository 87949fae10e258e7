"""A minute of chaos: what `make chaos` does, with a seed that stays the same."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from tests.chaos.report import told
from tests.chaos.run import Wanted, run

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
KINDS = 12


@pytest.mark.timeout(SECONDS + 420)
async def test_nothing_is_lost_or_done_twice_or_half_done(tmp_path: Path) -> None:
    """Whatever dies, sleeps, lies or is cut off: what clients were told is so, everywhere."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of each lost connection
    result = await run(tmp_path, Wanted(SECONDS, SEED), print)

    assert result.holds, "\n".join(told(result))
    # A run that did no harm, or in which nothing came to an end, proves nothing.
    assert len(result.timeline.counts) >= KINDS, "\n".join(told(result))
    assert result.outcomes["COMMITTED"], "\n".join(told(result))
