"""What the local stack says when it cannot go on.

Every message has the same shape: what happened, what to do about it, and,
where a process wrote a log, the path of that log and its last lines.
"""

from pathlib import Path

TAIL_LINES = 15


class StackError(Exception):
    """The local stack could not do what it was asked."""

    def __init__(self, problem: str, remedy: str, *, log: Path | None = None) -> None:
        super().__init__(f"{problem}; {remedy}{_log_excerpt(log)}")
        self.problem, self.remedy, self.log = problem, remedy, log


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log; none if there is no such file."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


def _log_excerpt(log: Path | None) -> str:
    if log is None:
        return ""
    return "".join([f"\n  log: {log}", *(f"\n  | {line}" for line in tail(log))])
