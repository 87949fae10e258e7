"""Where the demo's traces go, and how they are shown at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from compose.demo.show import Show
from compose.local.jaeger import Jaeger, find_jaeger


class Traces:
    """A Jaeger, if there is one."""

    def __init__(self, jaeger: Jaeger | None) -> None:
        self._jaeger = jaeger

    @classmethod
    def start(cls, directory: Path, show: Show) -> Self:
        """Find a Jaeger."""
        return cls(find_jaeger(directory, progress=show.say))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._jaeger is not None:
            self._jaeger.stop()

    @property
    def endpoint(self) -> str:
        return self._jaeger.otlp_endpoint if self._jaeger else ""

    def show(self, gids: Mapping[str, str], show: Show) -> None:
        """Show where to look."""
        show.act("Where to look")
        for what, gid in gids.items():
            show.say(f"{what}: {gid}")
