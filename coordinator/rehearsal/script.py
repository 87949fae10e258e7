"""Scenario files: what people write of how a definition is to behave.

    definition: ../place-order.yaml
    input: {order_id: o-1, …}
    scenarios:
      the card is refused:
        replies: {charge: {refused: no money}}
        expect: {outcome: COMPENSATED, undone: [reserve]}

`twofold test` plays them. Shapes are checked here; whether the names are
those of the definition is checked against it, in `trial.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from coordinator.rehearsal.actors import Act, Answer, Part
from coordinator.rehearsal.arrivals import Happening, News
from sagas.document import Duration, Text
from sagas.document import Part as Shape
from wire.messages import Action, Order

_WORDS: Final = {
    "done": Act.DONE,
    "refused": Act.REFUSED,
    "busy": Act.BUSY,
    "failed": Act.FAILED,
    "silent": Act.NOTHING,
    "lost": Act.LOST,
    "reads": Act.READ_ONLY,
}
Word = Literal["done", "refused", "busy", "failed", "silent", "lost", "reads"]
Ending = Literal[
    "COMMITTED",
    "ABORTED",
    "COMPENSATED",
    "PARKED",
    "HEURISTIC_HAZARD",
    "HEURISTIC_MIXED",
    "HEURISTIC_COMMIT",
    "HEURISTIC_ROLLBACK",
    "IGNORED",
    "REFUSED",
]
"""How a transaction ends, or that it does not begin: `when` is false, or the start is refused."""

_PARTS: Final = {"undo": Part.UNDO, "end": Part.END}


def named(target: str) -> tuple[str, Part]:
    """Read `charge`, `undo charge` or `end debit` as a step or branch, and what is asked of it."""
    first, _, rest = target.partition(" ")
    return (rest.strip(), _PARTS[first]) if rest and first in _PARTS else (target, Part.DO)


class ReplyPart(Shape):
    """One answer: exactly one of the words, with what it says; and when it comes."""

    done: Annotated[Any, Field(description="what it returns; default: what expressions name")] = (
        None
    )
    refused: Annotated[Text, Field(description="the reason")] = "as scripted"
    busy: Annotated[Text, Field(description="the reason")] = "as scripted"
    failed: Annotated[Text, Field(description="the reason")] = "as scripted"
    after: Annotated[Duration, Field(description="how long the answer takes")] = 20_000


def _one_word(part: ReplyPart) -> ReplyPart:
    said = part.model_fields_set - {"after"}
    if len(said) != 1:
        raise ValueError("one of `done`, `refused`, `busy`, `failed`, and `after` beside it")
    return part


def _kind(value: Any) -> str:
    """Tell which of two shapes is meant, so that errors speak of that one alone."""
    return "<more>" if isinstance(value, dict) else "<word>"


Reply: TypeAlias = Annotated[
    Annotated[Word, Tag("<word>")] | Annotated[ReplyPart, AfterValidator(_one_word), Tag("<more>")],
    Discriminator(_kind),
]


def _listed(value: Any) -> Any:
    """Read one answer as a list of one."""
    return cast("list[Any]", value) if isinstance(value, list) else [value]


Answers = Annotated[
    list[Reply],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=Reply | list[Reply]),
]
Replies = Annotated[
    dict[str, Answers],
    Field(description="for `step`, `undo step`, `branch` or `end branch`: its answers, one by one"),
]


class CallPart(Shape):
    """What a command is to be, beside whom it is for."""

    call: Annotated[Text | None, Field(description="participant.command")] = None
    with_: Annotated[Any, Field(alias="with", description="all that it carries")] = None


Calls: TypeAlias = list[
    Annotated[
        Annotated[Text, Tag("<word>")]
        | Annotated[dict[str, CallPart], Field(min_length=1, max_length=1), Tag("<more>")],
        Discriminator(_kind),
    ]
]


class ExpectPart(Shape):
    """How it is to end. What is not said may be as it likes."""

    outcome: Annotated[Ending, Field(description="IGNORED: `when` is false; REFUSED: no start")]
    reason: Annotated[Text | None, Field(description="a part of the reason")] = None
    output: Annotated[Any, Field(description="all of the output")] = None
    key: Annotated[Text | None, Field(description="its start key")] = None
    stands: Annotated[list[str] | None, Field(description="what took effect and stays")] = None
    undone: Annotated[list[str] | None, Field(description="what took effect and is gone")] = None
    calls: Annotated[
        Calls | None, Field(description="all commands in order, a repeated one once")
    ] = None
    within: Annotated[Duration | None, Field(description="how long it may take at most")] = None


class CrashPart(Shape):
    """When the coordinator dies, once, and another takes over."""

    before: Annotated[Text | None, Field(description="it is due and written down, not sent")] = None
    after: Annotated[Text | None, Field(description="its first answer is dealt with")] = None


Input = Annotated[
    dict[str, Any] | None, Field(description="the event's body; default: made up by the schema")
]


class HappeningPart(Shape):
    """Something that happens beside the transaction: exactly one of the first five."""

    event: Annotated[Any, Field(description="its body; it comes on `topic`")] = None
    approve: Annotated[Text | None, Field(description="the step that a person approves")] = None
    refuse: Annotated[Text | None, Field(description="the step that a person refuses")] = None
    signal: Annotated[
        Text | None, Field(description="the step whose event a person gives, as `data`")
    ] = None
    abort: Annotated[Text | None, Field(description="a person aborts it, for this reason")] = None
    after: Annotated[Duration, Field(description="since the start; default: at once")] = 0
    topic: Annotated[Text | None, Field(description="of an event")] = None
    role: Annotated[Text, Field(description="as whom a person speaks")] = ""
    reason: Annotated[Text, Field(description="what a person says")] = "as scripted"
    data: Annotated[Any, Field(description="what a person gives")] = None


_HAPPENS: Final = frozenset({"event", "approve", "refuse", "signal", "abort"})


def _one_happening(part: HappeningPart) -> HappeningPart:
    said = part.model_fields_set & _HAPPENS
    if len(said) != 1:
        raise ValueError("one of `event`, `approve`, `refuse`, `signal`, `abort`")
    if ("event" in said) != (part.topic is not None):
        raise ValueError("an `event` comes on a `topic`, and nothing else does")
    return part


class ScenarioPart(Shape):
    """One run."""

    input: Input = None
    replies: Replies = Field(default_factory=dict)
    meanwhile: Annotated[
        list[Annotated[HappeningPart, AfterValidator(_one_happening)]],
        Field(description="events and people's words, by the clock"),
    ] = Field(default_factory=list[HappeningPart])
    held: Annotated[
        Duration, Field(description="so long another transaction has its locks; default: 0s")
    ] = 0
    crash: CrashPart | None = None
    expect: ExpectPart


class ScenarioFile(Shape):
    """Scenarios of one definition; `input` and `replies` are for those without their own."""

    definition: Annotated[Text, Field(description="its file, seen from this one")]
    input: Input = None
    replies: Replies = Field(default_factory=dict)
    scenarios: Annotated[
        dict[Text, ScenarioPart], Field(min_length=1, description="by what each is to show")
    ]


def answer(reply: Word | ReplyPart) -> Answer:
    """Make an answer of what is written."""
    if isinstance(reply, str):
        return Answer(_WORDS[reply])
    [word] = reply.model_fields_set - {"after"}
    said: Any = getattr(reply, word)
    if word == "done":
        return Answer(Act.DONE, data=said, after_us=reply.after)
    return Answer(_WORDS[word], reason=said, after_us=reply.after)


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of scenario files, for editors."""
    schema = ScenarioFile.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def happening(part: HappeningPart) -> Happening:
    """Make what happens of what is written."""
    if part.topic is not None:
        return News(part.topic, part.event)
    [word] = part.model_fields_set & _HAPPENS
    said = getattr(part, word)
    return Order(
        gid="",
        id=f"{word} {said} {part.after}",
        action=Action(word),
        actor="somebody",
        reason=said if word == "abort" else part.reason,
        step="" if word == "abort" else said,
        data=part.data,
        role=part.role,
    )
