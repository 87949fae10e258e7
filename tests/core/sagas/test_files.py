"""Files of a folder: both endings of YAML, in order, and nothing else."""

from __future__ import annotations

from pathlib import Path

from sagas.files import files_of


def test_a_folder_means_its_yaml_of_either_ending(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "notes.txt"):
        (tmp_path / name).touch()
    named = tmp_path / "notes.txt"
    assert files_of([named, tmp_path]) == [named, tmp_path / "a.yaml", tmp_path / "b.yml"]
