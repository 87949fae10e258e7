"""Each way to lose shards, once: somebody else goes on, and who comes back does no harm."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from tests.takeovers.run import LONGEST_S, bench, told
from tests.takeovers.ways import UNPLANNED


@pytest.mark.timeout(600)
async def test_every_way_ends_and_late_writes_do_not_count(tmp_path: Path) -> None:
    """How soon is measured by `make takeovers`; here it ends at all."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it tells of each lost connection
    async with bench(tmp_path, random.Random(1), print) as made:
        for way in UNPLANNED:
            row = await made.take_over(way, 1, LONGEST_S, random.Random(1))
            assert row.gaps, way.name
            assert max(row.gaps) < LONGEST_S, told(row)
            assert max(row.told) < LONGEST_S, told(row)
    broken = [finding for finding in made.result.findings if not finding.holds]
    assert not broken
    # Somebody has come back to shards that were another one's by then.
    logs = (tmp_path / "processes").glob("coordinator-*.log")
    assert any("shards_lost" in log.read_text() for log in logs)
