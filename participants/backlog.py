"""What is waiting to be done for branches, and in which order. Pure.

Decisions overtake prepares: a branch that is held prepared holds its locks
and its slot until it is told how to end, and others wait for these. For the
same reason no more are held than a limit well below the server's slots, and
some lanes are kept for decisions: a prepare may wait for a lock that only a
decision can release.

Slots are shared with others, and may be too few all the same. A prepare that
got none keeps its place here: if it were sent away, a younger one would take
the next slot, and each participant would hold branches whose other halves wait
for a slot elsewhere, until all of them time out.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from participants.watermark import Place
from wire.messages import Commit, Prepare, Rollback

KEPT_FOR_DECISIONS: Final = 2
"""Lanes that no prepare may take, unless there are hardly any."""


@dataclass(slots=True)
class Job:
    """One command for a branch, however often it has come."""

    message: Prepare | Commit | Rollback
    late: bool = False
    traceparent: str | None = None
    tag: Any = None
    sources: list[tuple[Place, int]] = field(default_factory=list[tuple[Place, int]])
    generation: int | None = None
    prepares: bool = False
    """Whether it runs on a lane for prepares."""
    without_slot: int = 0
    """How often it was ready, and there was no slot for it."""

    @property
    def key(self) -> tuple[str, str, str]:
        return type(self.message).__name__, self.message.gid, self.message.branch

    @property
    def name(self) -> str:
        """The name of its prepared transaction."""
        return f"{self.message.gid}.{self.message.branch}"


class Backlog:
    """Jobs that wait and jobs that run."""

    def __init__(self, *, lanes: int, held_limit: int, waiting_limit: int) -> None:
        self._free = lanes
        self._prepare_lanes = max(1, lanes - KEPT_FOR_DECISIONS)
        self._held_limit, self._waiting_limit = held_limit, waiting_limit
        self._fit = held_limit
        self._jobs: dict[tuple[str, str, str], Job] = {}
        self._urgent: deque[Job] = deque()
        self._prepares: list[tuple[str, int, Job]] = []
        self._arrivals = itertools.count()
        self._preparing = 0

    def add(self, job: Job, *, held: bool) -> Job | None:
        """Queue a job, or join it to one that is the same; return the one that is queued.

        ``held`` says that it is prepared already, so that it only asks for the
        vote again. None means that there is no room for another prepare.
        """
        same = self._jobs.get(job.key)
        if same is not None:
            same.sources += job.sources
            same.generation = max(same.generation or 0, job.generation or 0) or None
            return same
        urgent = held or not isinstance(job.message, Prepare)
        if not urgent and len(self._prepares) >= self._waiting_limit:
            return None
        self._jobs[job.key] = job
        if urgent:
            self._urgent.append(job)
        else:
            self._line_up(job)
        return job

    def _line_up(self, job: Job) -> None:
        """Queue a prepare: the oldest transaction first, here as in every other database.

        The fewer they are that take their locks in another order, the fewer
        wait for each other in a circle.
        """
        age = job.message.gid.rpartition(".")[2]
        heapq.heappush(self._prepares, (age, next(self._arrivals), job))

    def take(self, held: int) -> Job | None:
        """Return what is to be done next, if there is a lane for it.

        ``held`` is how many branches are prepared by now.
        """
        if not self._free:
            return None
        if self._urgent:
            self._free -= 1
            return self._urgent.popleft()
        room = self._fit - held - self._preparing
        if self._prepares and room > 0 and self._preparing < self._prepare_lanes:
            self._free -= 1
            self._preparing += 1
            job = heapq.heappop(self._prepares)[2]
            job.prepares = True
            return job
        return None

    def done(self, job: Job) -> None:
        """Give a job's lane back."""
        self._free += 1
        self._preparing -= job.prepares
        self._jobs.pop(job.key, None)

    def put_back(self, job: Job, held: int) -> None:
        """Let a prepare wait that got no slot, and learn how many of them fit.

        ``held`` is how many branches are prepared by now.
        """
        self._free += 1
        self._preparing -= 1
        job.prepares = False
        job.without_slot += 1
        self._fit = min(self._fit, held + self._preparing)
        self._line_up(job)

    def widen(self) -> None:
        """Allow one more to be held: others may have given slots back meanwhile."""
        self._fit = min(self._fit + 1, self._held_limit)

    @property
    def narrow(self) -> bool:
        """Whether fewer fit than might be held."""
        return self._fit < self._held_limit

    @property
    def unfinished(self) -> int:
        """How many jobs wait or run."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._urgent) + len(self._prepares)

    @property
    def prepares_waiting(self) -> int:
        """How many prepares wait for a lane, or for room."""
        return len(self._prepares)
