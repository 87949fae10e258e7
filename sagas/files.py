"""Which files are definitions, or scenarios: those named, and those of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

ENDINGS: Final = frozenset({".yaml", ".yml"})


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Return the files meant by files and folders. Those of a folder come in order of name."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(one for one in path.iterdir() if one.suffix in ENDINGS)
        else:
            found.append(path)
    return found
