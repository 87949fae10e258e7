"""What a handler is given, and what it may answer other than a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, TypeAlias

from wire.messages import Json

MAX_REASON: Final = 2_000
"""Characters of a reason that are told. One must never make a reply too large for Kafka."""


def sayable(said: object) -> str:
    """Return a text that any reply can carry: of no great length, and no half characters.

    A reason may quote what came from anywhere, such as an emoji that was cut in half.
    """
    text = str(said).encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a handler.

    ``name`` is the step's or branch's name in the definition; together with
    ``gid`` it is a key that is the same however often the call is repeated,
    for effects outside the database. ``result`` is what the step returned,
    and is given to its undo, and to what confirms it.
    """

    gid: str
    name: str
    command: str
    data: Json
    attempt: int = 1
    result: Json = None

    @property
    def step(self) -> str:
        return self.name

    @property
    def branch(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """A key for effects outside the database: equal for every repetition."""
        return f"{self.gid}/{self.name}"


class Verdict(Exception):
    """What a handler may return or raise. Its work in the database is undone."""

    verdict: ClassVar[str]

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = sayable(reason)


class Refused(Verdict):
    """A business no: it was not done, and this call never will be."""

    verdict = "refused"


class Busy(Verdict):
    """Not now: it was not done; ask again. Costs a step no attempt."""

    verdict = "busy"


class Locked(Busy):
    """Somebody else holds what the handler needs, or won a race for it."""


class Failed(Verdict):
    """A technical fault: it was not done; a retry may help. Aborts a branch."""

    verdict = "failed"


class ReadOnly(NamedTuple):
    """A branch's answer when it wrote nothing: it needs no second phase.

    Its transaction is rolled back, so what it wrote all the same is lost.
    """

    data: Json = None


Outcome: TypeAlias = Json | Verdict | ReadOnly
"""What came of a handler."""
