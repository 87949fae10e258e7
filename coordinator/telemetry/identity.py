"""The ids of spans, derived from the names of what they show.

A command carries the id of the span that will show its answer, long before
that span is exported, and whoever takes over derives the same one.
(https://www.w3.org/TR/trace-context/)
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

from wire.messages import AnyMessage, Commit, Compensate, Execute, Outcome, Prepare, Rollback

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SPAN: Final = slice(36, 52)
"""Where the span is in a traceparent."""


class TraceContext(NamedTuple):
    """A place in a trace, as a traceparent header says it."""

    trace: str
    span: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace}-{self.span}-{'01' if self.sampled else '00'}"


def parse(traceparent: str | None) -> TraceContext | None:
    """Read a traceparent header; None if there is none that says anything."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return None
    return TraceContext(match[1], match[2], bool(int(match[3], 16) & 1))


def span_of(gid: str, label: str) -> str:
    """Derive a span's id."""
    return hashlib.blake2b(f"{gid}/{label}".encode(), digest_size=8).hexdigest()


def label_of(message: AnyMessage) -> str:
    """Name the span that shows what becomes of a message."""
    match message:
        case Execute():
            return f"step/{message.step}/{message.attempt}"
        case Compensate():
            return f"undo/{message.step}/{message.attempt}"
        case Prepare():
            return f"prepare/{message.branch}"
        case Commit() | Rollback():
            return f"settle/{message.branch}"
        case Outcome():
            return "outcome"
        case _:
            return "root"


def root(gid: str, unique: str, incoming: str | None, *, sampled: bool) -> tuple[str, str]:
    """Place a transaction in its starter's trace, or in one of its own.

    Returns the traceparent of its root span, and the span that caused it, if any.
    """
    cause = parse(incoming)
    span = span_of(gid, "root")
    if cause is None:
        return str(TraceContext(unique, span, sampled)), ""
    return str(TraceContext(cause.trace, span, cause.sampled)), cause.span


def is_kept(root_traceparent: str) -> bool:
    """Tell whether the spans of a trace are exported. This is asked at every event."""
    return root_traceparent.endswith("-01")


def part(root_traceparent: str, parent: str, gid: str, label: str) -> tuple[str, str]:
    """Place a transaction that is part of another below the span that shows its step.

    Returns the same as `root`.
    """
    span = span_of(gid, "root")
    context = f"{root_traceparent[: _SPAN.start]}{span}{root_traceparent[_SPAN.stop :]}"
    return context, span_of(parent, label)


def child(root_traceparent: str, gid: str, message: AnyMessage) -> str:
    """Return the traceparent that a message carries: the root's, with another span.

    The root's is one that `root` has made, so its parts are where they belong.
    Of a trace that is not kept nobody will see the span: it is not named.
    """
    if not is_kept(root_traceparent):
        return root_traceparent
    span = span_of(gid, label_of(message))
    return f"{root_traceparent[: _SPAN.start]}{span}{root_traceparent[_SPAN.stop :]}"
