"""Records as spans."""

from __future__ import annotations

from dataclasses import replace

from msgspec import structs

from coordinator.core import machine
from coordinator.telemetry.spans import spans, spans_of_log
from tests.core.coordinator.builders import Story, begun, constant, executed, saga, step
from wire.messages import Result


def test_a_step_that_was_skipped_is_seen() -> None:
    """A trace without it would look as if it had been forgotten."""
    story = Story.begin(saga(step("a"), step("b", "a", condition=constant(value=False))))
    story.hear(executed("a"))
    first, *rest = story.entries()
    begun = structs.replace(first.record, traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    log = [first._replace(record=begun), *rest]
    drawn = spans_of_log(story.gid, story.definition, log)

    [skipped] = [span for span in drawn if span.name == "skip b"]
    assert skipped.attributes["twofold.result"] == "skipped"


def test_a_saga_that_was_moved_has_one_trace() -> None:
    """Drawn turn by turn, by an owner that was there, or from the log afterwards."""
    definition = saga(step("a", pivot=True), step("b", "a", back=False))
    story, first = Story(definition), begun(definition)
    first = structs.replace(first, traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    story.take(machine.begin(story.gid, definition, first, story.now_us))
    story.hear(executed("a"))
    story.hear(executed("b", Result.REFUSED))
    story.publish()
    before, known = story.saga, len(story.log)
    story.move(replace(saga(step("a", pivot=True), step("c", "a")), version=2, hash="sha256:2"))
    story.hear(executed("c"))
    log, versions = story.entries(), machine.versions(story.state)

    drawn = spans_of_log(story.gid, story.saga.definition, log, versions)
    later = [*spans(before, story.saga, log[known:])]

    names = ["ordered move", "step c", "outcome COMMITTED"]
    assert [span.name for span in later] == names
    assert [span.name for span in drawn][-3:] == names
    assert later[0].attributes["twofold.definition.version"] == 2
