"""A disk of its own for one server, which can be filled up and freed again.

It is a tmpfs: what is on it survives the death of its server, and not that of
the machine. It is full once it is no larger than what is on it. To mount one
takes root; where that is not to be had, there is none.
"""

import os
import subprocess
from pathlib import Path
from typing import Self

SIZE_MB = 2048
LEFT_KB = 64
"""What is left when it is full: a little, as in life."""


class SmallDisk:
    """A mounted directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def mount(cls, directory: Path) -> Self | None:
        """Mount one; None if we may not."""
        directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return None
        options = ["-t", "tmpfs", "-o", f"size={SIZE_MB}m", "twofold", str(directory)]
        return cls(directory) if _run("mount", *options) else None

    def fill(self) -> bool:
        """Leave next to no room; False if that could not be done."""
        there = os.statvfs(self.directory)
        used_kb = (there.f_blocks - there.f_bfree) * there.f_frsize // 1024
        return self._resize(used_kb + LEFT_KB)

    def free(self) -> None:
        """Give all of it back."""
        self._resize(SIZE_MB * 1024)

    def unmount(self) -> None:
        """End it, now or when the last of its users has gone."""
        _run("umount", "--lazy", str(self.directory))

    def _resize(self, size_kb: int) -> bool:
        return _run("mount", "-o", f"remount,size={size_kb}k", str(self.directory))


def _run(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # our own
    except FileNotFoundError:
        return False
    return done.returncode == 0
