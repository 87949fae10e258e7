"""What people write: the words of the language, and their shapes.

Everything unknown is refused. What a word means is said in its description,
which is what an editor shows.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    StringConstraints,
    Tag,
)
from pydantic_core import PydanticCustomError

from sagas.model import RETAIN_US

SECOND_US: Final = 1_000_000
_UNITS: Final = {
    "ms": 1_000,
    "s": SECOND_US,
    "m": 60 * SECOND_US,
    "h": 3_600 * SECOND_US,
    "d": 86_400 * SECOND_US,
}
A_LENGTH: Final = "a duration is a number and a unit: 200ms, 5s, 2m, 1h, 30d"
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_CEL_WORDS: Final = frozenset({"false", "in", "null", "true"})


def duration_us(value: Any) -> int:
    """Read `200ms`, `5s`, `2m`, `1h` or `30d` as microseconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(A_LENGTH)
    return int(match[1]) * _UNITS[match[2]]


def _can_be_named(value: str) -> str:
    """Refuse an id that no expression could name."""
    if value in _CEL_WORDS:
        raise PydanticCustomError("cel_word", "a word of CEL")
    return value


Duration = Annotated[
    int,
    BeforeValidator(
        duration_us,
        json_schema_input_type=Annotated[str, Field(pattern=f"^{_DURATION.pattern}$")],
    ),
    Field(
        gt=0, le=100 * 365 * _UNITS["d"], description="a number and a unit: 200ms, 5s, 2m, 1h, 30d"
    ),
]
Retain = Annotated[
    Duration, Field(description="how long one that has ended is kept; the newest version says so")
]
Index = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")], ...],
    Strict(strict=False),
    Field(max_length=8, description="fields of the input by which `twofold list --where` finds it"),
]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Id = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$"), AfterValidator(_can_be_named)
]
CallText = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}\.[a-z][a-z0-9-]{0,39}$")
]
Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Version = Annotated[
    int, Field(ge=1, le=2**31 - 1, description="raise it with any change: a version has one text")
]
_IDS: Final[dict[str, Any]] = {"additionalProperties": False}
"""For editors: no key but those of the pattern."""


class Part(BaseModel):
    """Base of all parts of a document."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StartPart(Part):
    """Which events start a transaction."""

    topic: Annotated[Topic | None, Field(description="a topic of yours")] = None
    when: Annotated[Text | None, Field(description="CEL over `event`; default: always")] = None
    key: Annotated[
        Text | None,
        Field(description="CEL over `event`; the same key starts one. Default: its place"),
    ] = None
    every: Annotated[
        Text | None,
        Field(
            description="by the clock, in UTC: a length of time, or a cron line of five fields"
            " (minute hour day month weekday)"
        ),
    ] = None
    delay: Annotated[
        Duration | None, Field(description="how long it rests before anything is asked")
    ] = None
    reply_to: Annotated[
        Topic | None, Field(description="a topic of yours that hears the outcome as well")
    ] = None


class RetryPart(Part):
    """How often, and how far apart."""

    attempts: Annotated[int, Field(ge=1, le=1000, description="in all")] = 5
    first: Duration = SECOND_US
    factor: Annotated[float, Field(ge=1, le=100, description="by which each pause is longer")] = 2.0
    max: Duration = 60 * SECOND_US
    jitter: Annotated[
        Literal["full", "none"], Field(description="a random part of each pause, or all of it")
    ] = "full"
    budget: Annotated[Duration | None, Field(description="for all attempts; none begins later")] = (
        None
    )


class AskPart(Part):
    """A further command about what a step has done."""

    call: Annotated[CallText, Field(description="participant.command")]
    with_: Annotated[
        dict[str, Any] | None, Field(alias="with", description="default: what the step got")
    ] = None
    timeout: Duration = 30 * SECOND_US
    retry: RetryPart = RetryPart()


class UndoPart(AskPart):
    """How a step is undone."""


class ConfirmPart(AskPart):
    """How a try becomes final."""


class NoUndoPart(Part):
    """Why a step's effect may stand."""

    none: Annotated[Text, Field(description="the reason")]


def _undo_tag(value: Any) -> str:
    """Tell which of the shapes is meant, so that errors speak of that one alone."""
    if isinstance(value, dict):
        return "<none>" if "none" in value else "<part>"
    return "<call>"


def _part_tag(value: Any) -> str:
    return "<part>" if isinstance(value, dict) else "<call>"


AnyUndo = Annotated[
    Annotated[CallText, Tag("<call>")]
    | Annotated[UndoPart, Tag("<part>")]
    | Annotated[NoUndoPart, Tag("<none>")],
    Discriminator(_undo_tag),
]
Cancel = Annotated[
    Annotated[CallText, Tag("<call>")] | Annotated[UndoPart, Tag("<part>")],
    Discriminator(_part_tag),
]
Confirm = Annotated[
    Annotated[CallText, Tag("<call>")] | Annotated[ConfirmPart, Tag("<part>")],
    Discriminator(_part_tag),
]


class GroupUndoPart(Part):
    """How a branch of an atomic step is undone: by a branch of another transaction."""

    call: Annotated[CallText, Field(description="participant.command, of a branch")]
    with_: Annotated[
        dict[str, Any] | None, Field(alias="with", description="default: what the branch got")
    ] = None


AnyGroupUndo = Annotated[
    Annotated[CallText, Tag("<call>")]
    | Annotated[GroupUndoPart, Tag("<part>")]
    | Annotated[NoUndoPart, Tag("<none>")],
    Discriminator(_undo_tag),
]


class TccPart(Part):
    """A reservation that is confirmed once there is no way back, and cancelled before."""

    try_: Annotated[CallText, Field(alias="try", description="participant.command: reserve")]
    confirm: Annotated[
        Confirm,
        Field(description="past the pivot: participant.command, or {call, with, timeout, retry}"),
    ]
    cancel: Annotated[
        Cancel,
        Field(description="going back: participant.command, or {call, with, timeout, retry}"),
    ]


class AwaitedPart(Part):
    """Something that must come from outside before the saga goes on."""

    timeout: Annotated[
        Duration | None, Field(description="from when it waits; default: the saga's deadline")
    ] = None
    on_timeout: Annotated[
        Literal["fail", "continue"],
        Field(description="continue: with null for its result. Default: fail"),
    ] = "fail"


class WaitPart(AwaitedPart):
    """An event that must come before the saga goes on."""

    topic: Annotated[Topic, Field(description="a topic of yours")]
    match: Annotated[
        Text,
        Field(description="CEL over `event`, `input`, `steps`: which event; one `==` is its key"),
    ]


class ApprovePart(AwaitedPart):
    """A person's yes that must be said before the saga goes on."""

    roles: Annotated[list[Name], Field(description="who may say it; default: anybody")] = []


def _names_tag(value: Any) -> str:
    return "<list>" if isinstance(value, list) else "<text>"


class LockPart(Part):
    """What no other saga may hold meanwhile."""

    key: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[Text], Field(min_length=1, max_length=50), Tag("<list>")],
        Discriminator(_names_tag),
        Field(description="the name of the lock, or names: `order:${ input.order_id }`"),
    ]
    busy: Annotated[
        Literal["wait", "reject", "allow"],
        Field(description="when another transaction has it; default: wait"),
    ] = "wait"


class GroupBranchPart(Part):
    """One branch of an atomic step, and how it is undone if the saga goes back."""

    call: Annotated[CallText, Field(description="participant.command")]
    with_: Annotated[dict[str, Any], Field(alias="with", description="its input")] = {}
    undo: Annotated[
        AnyGroupUndo | None,
        Field(description="a branch that undoes it: participant.command, or {call, with}"),
    ] = None


class GroupPart(Part):
    """Branches that commit together or not at all, as one step."""

    branches: Annotated[
        dict[Id, GroupBranchPart],
        Field(min_length=1, max_length=50, description="what commits together, by id"),
    ]
    vote_timeout: Annotated[Duration, Field(description="for all votes")] = 10 * SECOND_US


class StepPart(Part):
    """One step of a saga."""

    needs: Annotated[
        list[str] | None,
        Field(
            description="steps that must be done first; [] starts at once; default: the one before"
        ),
    ] = None
    if_: Annotated[
        Text | None, Field(alias="if", description="CEL; false: the step is skipped")
    ] = None
    call: Annotated[CallText | None, Field(description="participant.command")] = None
    tcc: Annotated[
        TccPart | None, Field(description="in place of call and undo: {try, confirm, cancel}")
    ] = None
    wait: Annotated[
        WaitPart | None, Field(description="for an event: {topic, match, timeout, on_timeout}")
    ] = None
    approve: Annotated[
        ApprovePart | None, Field(description="by a person: {roles, timeout, on_timeout}")
    ] = None
    atomic: Annotated[
        GroupPart | None,
        Field(description="in place of call and undo: {branches, vote_timeout}, all or nothing"),
    ] = None
    saga: Annotated[
        Name | None, Field(description="in place of call and undo: the name of another saga")
    ] = None
    with_: Annotated[dict[str, Any], Field(alias="with", description="its input")] = {}
    key: Annotated[Text | None, Field(description="Kafka key, CEL; default: the gid")] = None
    timeout: Annotated[Duration, Field(description="for each attempt")] = 30 * SECOND_US
    retry: RetryPart = RetryPart()
    undo: Annotated[
        AnyUndo | None,
        Field(description="participant.command, or {call, with, timeout, retry}, or {none: why}"),
    ] = None
    on_unknown: Annotated[
        Literal["retry", "compensate", "park"],
        Field(description="when an answer does not come in time; default: retry"),
    ] = "retry"
    each: Annotated[
        Text | None, Field(description="CEL, a list: the step is done for each element, `each`")
    ] = None
    at_most: Annotated[
        int, Field(ge=1, le=1000, description="so many elements at once; default: 10")
    ] = 10
    on_refused: Annotated[
        Literal["compensate", "continue"],
        Field(description="go back, or go on without it, as if it were skipped"),
    ] = "compensate"
    on_undo_failure: Annotated[
        Literal["park", "continue"],
        Field(description="park at once if it cannot be undone, or undo the others first"),
    ] = "park"
    pivot: Annotated[bool, Field(description="past this step there is no way back")] = False
    sensitive: Annotated[bool, Field(description="its result is not to be shown")] = False

    @property
    def first_call(self) -> str | None:
        """What it asks for, going forward."""
        return self.call if self.tcc is None else self.tcc.try_

    @property
    def way_back(self) -> str | UndoPart | NoUndoPart | None:
        """How it is undone, by whatever word that is said."""
        return self.undo if self.tcc is None else self.tcc.cancel

    @property
    def waits(self) -> WaitPart | ApprovePart | None:
        """What it waits for, if that is what it does."""
        return self.wait if self.approve is None else self.approve


WORKS: Final = ("call", "tcc", "atomic", "saga", "wait", "approve")
"""What a step may do, of which each step does one."""


class SagaDocument(Part):
    """A saga: steps that commit one by one, and are undone if the whole cannot be."""

    saga: Annotated[Name, Field(description="its name")]
    version: Version
    start: StartPart = StartPart()
    input: Annotated[dict[str, Any] | None, Field(description="JSON Schema of the input")] = None
    deadline: Annotated[Duration, Field(description="for the whole saga")] = 3_600 * SECOND_US
    on_deadline: Annotated[
        Literal["compensate", "park"],
        Field(description="before the pivot; after it, it is parked. Default: compensate"),
    ] = "compensate"
    lock: Annotated[
        LockPart | None, Field(description="held from before the first step until the end")
    ] = None
    steps: Annotated[
        dict[Id, StepPart],
        Field(
            min_length=1,
            max_length=200,
            description="each after the one before, unless it says what it needs",
            json_schema_extra=_IDS,
        ),
    ]
    output: Annotated[Any, Field(description="what its outcome tells")] = None
    retain: Retain = RETAIN_US
    index: Index = ()


class BranchPart(Part):
    """One branch of an atomic transaction."""

    call: Annotated[CallText, Field(description="participant.command")]
    with_: Annotated[dict[str, Any], Field(alias="with", description="its input")] = {}
    key: Annotated[Text | None, Field(description="Kafka key, CEL; default: the gid")] = None
    sensitive: Annotated[bool, Field(description="its result is not to be shown")] = False


class AtomicDocument(Part):
    """An atomic transaction: branches that commit together or not at all."""

    atomic: Annotated[Name, Field(description="its name")]
    version: Version
    start: StartPart = StartPart()
    input: Annotated[dict[str, Any] | None, Field(description="JSON Schema of the input")] = None
    vote_timeout: Annotated[Duration, Field(description="for all votes")] = 10 * SECOND_US
    branches: Annotated[
        dict[Id, BranchPart],
        Field(
            min_length=1,
            max_length=50,
            description="what happens in all databases or in none",
            json_schema_extra=_IDS,
        ),
    ]
    output: Annotated[Any, Field(description="what its outcome tells")] = None
    retain: Retain = RETAIN_US
    index: Index = ()


Kind = Literal["saga", "atomic"]
DOCUMENTS: Final[dict[str, type[SagaDocument | AtomicDocument]]] = {
    "saga": SagaDocument,
    "atomic": AtomicDocument,
}
LATER: Final = frozenset(
    {
        "migrate_from",
    }
)
"""Words that the language will have, and does not yet."""
NOT_YET: Final = "remove it: it is planned, but nothing would heed it today"
