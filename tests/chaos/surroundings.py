"""Where a run took place, for whoever reads its report."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime

from compose.local.jars import KAFKA_VERSION


def described() -> list[str]:
    """Return lines of a report: commit, day, machine."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory} GiB"
    return [
        f"- commit: {commit or 'unknown'}, {datetime.now(UTC):%Y-%m-%d}",
        f"- machine: {machine}, Python {platform.python_version()}, Kafka {KAFKA_VERSION}",
    ]
