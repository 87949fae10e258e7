"""Records as spans."""

from __future__ import annotations

from msgspec import structs

from coordinator.telemetry.spans import spans_of_log
from tests.core.coordinator.builders import Story, constant, executed, saga, step


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
