"""Where the demo's traces go, and how they are shown at the end.

In Jaeger, if there is one; else they are received here, and drawn as trees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from compose.demo.show import Show
from compose.local.jaeger import Jaeger, find_jaeger
from compose.local.otlp import Receiver, Seen, tree

WAIT_S = 5.0


class Traces:
    """A Jaeger, or a receiver of our own."""

    def __init__(self, jaeger: Jaeger | None, receiver: Receiver | None) -> None:
        self._jaeger, self._receiver = jaeger, receiver

    @classmethod
    def start(cls, directory: Path, show: Show) -> Self:
        """Find a Jaeger, or listen."""
        jaeger = find_jaeger(directory, progress=show.say)
        return cls(jaeger, None if jaeger else Receiver.start())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._jaeger is not None:
            self._jaeger.stop()
        if self._receiver is not None:
            self._receiver.stop()

    @property
    def endpoint(self) -> str:
        if self._jaeger is not None:
            return self._jaeger.otlp_endpoint
        return self._receiver.endpoint if self._receiver else ""

    def show(self, gids: Mapping[str, str], trace_of: Callable[[str], str], show: Show) -> None:
        """Show what there is to see, and where to look."""
        show.act("Traces: one for each transaction, through all services, also across kill -9")
        for what in ("committed", "compensated", "recovered"):
            if what not in gids:
                continue
            trace = trace_of(gids[what])
            show.say(f"{what}: {gids[what]}")
            if self._jaeger is not None:
                show.say(self._jaeger.trace_url(trace))
            show.quote(tree(self._spans(trace)))
        if self._jaeger is not None:
            show.say("(a Jaeger that the demo started ends with it; KEEP=1 leaves it running)")

    def _spans(self, trace: str) -> list[Seen]:
        """Return a trace's spans once its outcome is among them, and no more have come."""
        spans: list[Seen] = []
        for _ in range(int(WAIT_S / 0.5)):
            before, spans = len(spans), self._arrived(trace)
            complete = any(span.name.startswith("outcome") for span in spans)
            if complete and len(spans) == before:
                break
            time.sleep(0.5)
        return spans

    def _arrived(self, trace: str) -> list[Seen]:
        if self._receiver is not None:
            return self._receiver.trace(trace)
        assert self._jaeger is not None
        return self._jaeger.spans(trace)
