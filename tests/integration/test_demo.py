"""The first thing that a newcomer runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

GIVEN = ("KAFKA_BOOTSTRAP", "PG_DSN", "TWOFOLD_STACK", "OTEL_EXPORTER_OTLP_ENDPOINT")
WAITS_S = 240


def start(directory: Path) -> subprocess.Popen[str]:
    """Run the demo, with a temporary folder of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in GIVEN}
    return subprocess.Popen(
        [sys.executable, "-m", "coordinator.cli.main", "demo"],
        env={**environment, "TMPDIR": str(directory), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(WAITS_S + 60)
def test_the_demo_shows_the_main_job_and_leaves_nothing(tmp_path: Path) -> None:
    """Each kind of end, a takeover, and traces of it."""
    with start(tmp_path) as demo:
        told, _ = demo.communicate(timeout=WAITS_S)

    assert demo.returncode == 0, told
    for outcome in ("COMMITTED", "COMPENSATED", "ABORTED"):
        assert outcome in told
    assert re.search(r"pg_prepared_xacts|prepared", told), told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(WAITS_S)
def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    """Neither processes nor data, nor a traceback."""
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "COMMITTED" in line:
                break
        demo.send_signal(signal.SIGINT)
        told, _ = demo.communicate(timeout=60)

    assert demo.returncode == 130, told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []
