"""Data that stands elsewhere for a directory goes when the directory has gone, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from compose.local import postgres_binaries


def test_a_directory_that_is_there_again_keeps_its_new_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its old data may still be on its way out."""
    monkeypatch.setattr(postgres_binaries, "AREA", tmp_path / "area")
    one, other = tmp_path / "one", tmp_path / "other"
    stand_in: Callable[[Path], Path] = vars(postgres_binaries)["_stand_in"]
    go_on, done, removed = threading.Event(), threading.Event(), list[Path]()

    def remove(directories: list[Path]) -> None:
        if not directories:
            return
        go_on.wait(10)
        removed.extend(directories)
        done.set()

    monkeypatch.setattr(postgres_binaries, "_remove", remove)
    one.mkdir()
    (stand_in(one) / "old").touch()
    (one / "elsewhere").unlink()
    one.rmdir()
    other.mkdir()
    stand_in(other)
    one.mkdir()
    again = stand_in(one)
    assert list(again.iterdir()) == []
    go_on.set()
    assert done.wait(10)
    assert {(gone / "pg" / "old").exists() for gone in removed} == {True}
