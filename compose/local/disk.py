"""Enough room on the disk, asked for before a server finds out in the middle."""

import shutil
from pathlib import Path

from compose.local.errors import StackError

NEEDED_MB = 500


def require_space(directory: Path, needed_mb: int = NEEDED_MB) -> None:
    free_mb = shutil.disk_usage(directory).free // 2**20
    if free_mb < needed_mb:
        raise StackError(
            f"{directory} has {free_mb} MB free and the stack needs {needed_mb} MB",
            "free some space or choose another directory",
        )
