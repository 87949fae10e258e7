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


def busy_seconds() -> float:
    """Return what all cores together have spent on anything, since the machine started."""
    # user nice system idle iowait irq softirq steal; what a hypervisor took is gone, too.
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS


@dataclass(frozen=True, slots=True)
class Spent:
    """What has been spent up to now, or between two moments."""

    cpu: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds, by who spent them."""
    busy: float = 0.0
    """Seconds of CPU that anybody on this machine has spent."""
    at: float = 0.0
    messages: int = 0
    flushes: int = 0

    @property
    def elsewhere(self) -> float:
        """How much of the machine others took, from 0 to 1."""
        cores = os.cpu_count() or 1
        return max(0.0, self.busy - sum(self.cpu.values())) / (cores * self.at)

    def __sub__(self, other: Spent) -> Spent:
        cpu = {who: spent - other.cpu.get(who, 0.0) for who, spent in self.cpu.items()}
        return Spent(
            cpu,
            self.busy - other.busy,
            self.at - other.at,
            self.messages - other.messages,
            self.flushes - other.flushes,
        )
