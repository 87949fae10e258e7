"""Transcripts of whole transactions, for people to read: tests/scenarios/*.txt.

    TWOFOLD_REWRITE=1 pytest tests/core/coordinator/test_scenarios.py

writes them anew. Commit only differences that you understand.

A block is an instruction, "----", and what it brings. Instructions:

    begin t-1 branches=(ledger,stock)
    begin t-1 steps=(reserve, charge:reserve, dispatch:charge!, mail:dispatch) deadline=60
    vote t-1 ledger=commit          settle t-1 ledger=committed     inquire t-1 ledger
    step t-1 reserve=done           undo t-1 reserve=done           published t-1
    wait 5                          crash t-1

``a:b+c`` needs b and c, ``!`` is the pivot, ``~`` may stand. An answer is to
the present attempt; ``reserve=done/1`` is one to the first. ``wait`` lets
seconds pass and wakes whenever there is something to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.core import machine
from coordinator.core.records import (
    AnyRecord,
    AttemptFailed,
    Begun,
    Closed,
    Decided,
    Ended,
    Hazard,
    Parked,
    StepUndone,
    UndoFailed,
)
from coordinator.core.transition import Transition
from sagas.model import AnyDefinition
from tests.core.coordinator.builders import (
    SECOND,
    START_US,
    Story,
    atomic,
    compensated,
    describe,
    executed,
    inquired,
    saga,
    settled,
    step,
    voted,
)
from wire.messages import End, Result, Vote

FOLDER = Path(__file__).parents[2] / "scenarios"
SCENARIOS = sorted(FOLDER.glob("*.txt"))
REWRITE = "TWOFOLD_REWRITE" in os.environ

Line = tuple[str, str]


def test_there_are_scenarios() -> None:
    """An empty folder would pass every test."""
    assert len(SCENARIOS) >= 12


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_goes_as_it_is_written(path: Path) -> None:
    """Each instruction brings exactly the records, messages and drops below it."""
    text = path.read_text()
    played = play(text)
    if REWRITE:
        path.write_text(played)
    assert played == text or REWRITE


def play(text: str) -> str:
    """Return the transcript with what its instructions bring now."""
    title, *blocks = text.strip().split("\n\n")
    stories: dict[str, Story] = {}
    out = [title]
    for block in blocks:
        instruction = block.partition("\n----")[0]
        lines = list(obey(instruction, stories))
        width = max((len(who) for who, _ in lines), default=0)
        body = [f"{who:{width}} {what}".rstrip() for who, what in lines] or ["nothing"]
        out.append("\n".join([instruction, "----", *body]))
    return "\n\n".join(out) + "\n"


def obey(instruction: str, stories: dict[str, Story]) -> Iterator[Line]:
    """Carry out one instruction; yield what it brings."""
    word, *rest = instruction.split(maxsplit=2)
    if word == "wait":
        for story in stories.values():
            yield from wait(story, int(float(rest[0]) * SECOND))
        return
    name, arguments = rest[0], rest[1] if len(rest) > 1 else ""
    if word == "begin":
        stories[name] = Story.begin(definition(arguments))
        yield from report(stories[name].last)
        return
    for move in answers(stories[name], word, arguments):
        yield from report(move)


def answers(story: Story, word: str, arguments: str) -> Iterator[Transition[Any]]:
    if word in ("crash", "published"):
        yield story.crash() if word == "crash" else story.publish()
        return
    for argument in arguments.split():
        who, _, said = argument.partition("=")
        answer, _, attempt = said.partition("/")
        match word:
            case "vote":
                yield story.hear(voted(who, Vote(answer)))
            case "settle":
                yield story.hear(settled(who, End(answer)))
            case "inquire":
                yield story.hear(inquired(who))
            case "step":
                number = int(attempt or story.saga.steps[who].attempt)
                yield story.hear(executed(who, Result(answer), number))
            case "undo":
                number = int(attempt or story.saga.steps[who].attempt)
                yield story.hear(compensated(who, Result(answer), number))
            case _:
                raise AssertionError(f"{word} is no instruction")


def wait(story: Story, pause_us: int) -> Iterator[Line]:
    until_us = story.now_us + pause_us
    while (at_us := machine.wake_at_us(story.state)) is not None and at_us <= until_us:
        story.now_us = max(story.now_us, at_us)
        lines = list(report(story.wake()))
        seconds = (story.now_us - START_US) / SECOND
        yield from [(f"{seconds:.3f}s", ""), *lines] if lines else []
    story.now_us = until_us


def definition(text: str) -> AnyDefinition:
    found: dict[str, str] = dict(re.findall(r"(\w+)=(\([^)]*\)|\S+)", text))
    names: list[str] = re.findall(r"[^\s,()]+", found.get("branches") or found["steps"])
    if "branches" in found:
        return atomic(*names)
    steps: list[Any] = []
    past: set[str] = set()
    for name in names:
        own, _, needs = name.rstrip("!~").partition(":")
        needed = tuple(need for need in needs.split("+") if need)
        after = bool(past & set(needed))
        if after or name.endswith("!"):
            past.add(own)
        steps.append(
            step(own, *needed, pivot=name.endswith("!"), back=not (after or name.endswith("~")))
        )
    return saga(*steps, deadline_s=float(found.get("deadline", 3600)))


def report(move: Transition[Any]) -> Iterator[Line]:
    """Say what a transition brought."""
    for record in move.records:
        yield "log", f"+= {type(record).__name__}{facts(record)}"
    for send in move.sends:
        yield send.participant or "anyone", f"<- {describe(send.message)}"
    if move.dropped:
        yield "drop", f"-- {move.dropped}"


def facts(record: AnyRecord) -> str:
    """Name what matters of a record in one line."""
    match record:
        case Begun() | Ended():
            return ""
        case Decided():
            awaited = ", ".join(record.awaited)
            return f" {record.decision} for ({awaited})" + because(record.reason)
        case Hazard():
            return f" {record.branch} is {record.end}"
        case Parked() | Closed():
            return f" {record.outcome}" + because(record.reason)
        case AttemptFailed() | UndoFailed():
            last = "" if record.retry_at_us else ", the last"
            return f" {record.step} {record.attempt} {record.why}{last}"
        case StepUndone():
            return f" {record.step} {record.attempt}"
        case _:
            known = [getattr(record, name, None) for name in ("step", "attempt")]
            reason = because(getattr(record, "reason", ""))
            return "".join(f" {fact}" for fact in known if fact is not None) + reason


def because(reason: str) -> str:
    return f": {reason}" if reason else ""
