"""Places where a process can be told to die, to prove that nothing is lost.

    TWOFOLD_FAILPOINT=P4         die the first time P4 is reached
    TWOFOLD_FAILPOINT=C9:3       die the third time C9 is reached
    TWOFOLD_FAILPOINT=C4:1:stop  do not die but sleep there, until SIGCONT

The names are those of the crash-point table in docs/guarantees.md. Without
the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Final

_NAME, _NTH, _HOW, *_ = [*os.environ.get("TWOFOLD_FAILPOINT", "").split(":"), "", ""]
_SIGNAL: Final = signal.SIGSTOP if _HOW == "stop" else signal.SIGKILL
_left = [int(_NTH or 1)]

ARMED: Final = bool(_NAME)
"""Whether any point is set, for places where working out the name has a cost."""


def hit(name: str) -> None:
    """Die by SIGKILL, as a power cut would have it, if this is the point and the time."""
    if name != _NAME:
        return
    _left[0] -= 1
    if _left[0] == 0:
        os.kill(os.getpid(), _SIGNAL)


def hit_any(names: Iterable[str]) -> None:
    """Pass several points at once."""
    for name in names:
        hit(name)
