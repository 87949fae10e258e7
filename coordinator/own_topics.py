"""Definitions that name a topic of Twofold's own where one of yours is meant.

What is on these topics is no event, and an outcome among replies or commands
is a dead letter. A start for each outcome would have an outcome as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from coordinator.definitions import participants
from sagas.model import AnyDefinition, Saga, Wait
from sagas.problems import Problem
from sagas.source import Path, Source
from wire.topics import Topics


def usurped(
    definition: AnyDefinition, origin: str, topics: Topics, together: Collection[AnyDefinition] = ()
) -> Iterator[Problem]:
    """Find where a definition names one; participants are those that it and these call."""
    own = _own(topics, [definition, *together])
    source = Source(definition.source, origin)
    for path, topic in _named(definition):
        if topic in own:
            said = f"`{topic}` is a topic of Twofold's own: {own[topic]}"
            hint = "name a topic of yours"
            if topic == topics.outcomes and path[-1] == "topic":
                hint += "; how another definition ends is told on its `start.reply_to`"
            yield source.problem("own-topic", said, hint, path=path)


def _named(definition: AnyDefinition) -> Iterator[tuple[Path, str]]:
    start = definition.start
    for word, topic in (("topic", start.topic), ("reply_to", start.reply_to)):
        if topic is not None:
            yield ("start", word), topic
    for step in definition.steps.values() if isinstance(definition, Saga) else ():
        if isinstance(step.work, Wait):
            yield ("steps", step.name, "wait", "topic"), step.work.topic


def _own(topics: Topics, definitions: Collection[AnyDefinition]) -> Mapping[str, str]:
    called = {name for one in definitions for name in participants(one)}
    return {
        topics.requests: "transactions are started there",
        topics.replies: "participants answer there",
        topics.outcomes: "all outcomes are told there",
        topics.dead_letters: "what cannot be read is put there",
        topics.heartbeats: "participants say there that they live",
        topics.marks: "coordinators say there how far they are",
        **{Topics.commands(one): f"the participant `{one}` is asked there" for one in called},
    }
