"""Where a run took place, for whoever reads its report."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime

from compose.local.jars import KAFKA_VERSION


def commit() -> str:
    """Name the commit that runs."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return said or "unknown"


def machine() -> str:
    """Describe this machine, and what runs on it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    hardware = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory} GiB"
    return f"{hardware}, Python {platform.python_version()}, Kafka {KAFKA_VERSION}"


def day() -> str:
    """Tell today's date."""
    return f"{datetime.now(UTC):%Y-%m-%d}"
