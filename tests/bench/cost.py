"""What is spent, read from the kernel and from the servers: CPU, flushes, messages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return what a process and its descendants have spent, those that ended included."""
    try:
        # After the name, which may contain anything: utime, stime, cutime, cstime.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS + sum(cpu_seconds(int(child)) for child in children)


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been spent up to now, or between two moments."""

    cpu: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds, by who spent them."""
    messages: int = 0
    flushes: int = 0

    def __sub__(self, other: Spent) -> Spent:
        cpu = {who: spent - other.cpu.get(who, 0.0) for who, spent in self.cpu.items()}
        return Spent(cpu, self.messages - other.messages, self.flushes - other.flushes)
