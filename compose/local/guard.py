"""Runs one command, and ends it when whoever asked for it is gone.

The guard is the parent of its command and reads orders from a pipe whose
other end only the guard's own parent holds. The kernel closes that end
however the parent dies, SIGKILL included, so the end of the pipe means: stop.
An order is a line with the number of a signal. SIGKILL goes to the whole tree
of processes, since the children of Postgres leave its process group.

The guard is run as a file by `python -IS`, so that it starts in a few
milliseconds: it imports nothing but the standard library.

Usage: guard.py ORDERS_FD REPORT_FD USER FAREWELL COMMAND...
    USER      the uid to run the command as, or - for our own
    FAREWELL  the signal for the command when the parent is gone
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

FAREWELL_SECONDS = 5.0
PARENT_CHECK_SECONDS = 1.0
LINGER_SECONDS = 5.0
PROC = Path("/proc/self/stat")


class Ward:
    """The guarded process, and those of its descendants that were killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.ended = threading.Event()
        self.doomed: set[int] = set()

    def send(self, number: int) -> None:
        if number != signal.SIGKILL:
            self.process.send_signal(number)
            return
        # Listed before the root dies: afterwards they are no longer its descendants.
        self.doomed.update(descendants(self.process.pid))
        self.process.kill()
        for pid in self.doomed:
            send_quietly(pid, signal.SIGKILL)

    def part(self, farewell: int) -> None:
        """End the command with the farewell signal, then by force."""
        self.send(farewell)
        if not self.ended.wait(FAREWELL_SECONDS):
            self.send(signal.SIGKILL)

    def wait(self) -> int:
        code = self.process.wait()
        self.ended.set()
        deadline = time.monotonic() + LINGER_SECONDS
        while any(map(lives, self.doomed)) and time.monotonic() < deadline:
            time.sleep(0.005)
        return code


def send_quietly(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def lives(pid: int) -> bool:
    """Whether it still runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return state_and_parent(pid)[0] != "Z"
    except OSError:  # no /proc here, or it ended just now
        return not PROC.exists()


def descendants(root: int) -> set[int]:
    """Every process below this one, found by the parent that each one names."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), []):
            found.add(pid)
            waiting.append(pid)
    return found


def parents() -> Iterator[tuple[int, int]]:
    """(pid, parent) of every process: from /proc, or from ps where there is none."""
    if not PROC.exists():
        listing = subprocess.run(
            ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
        )
        for line in listing.stdout.splitlines():
            pid, parent = line.split()
            yield int(pid), int(parent)
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), state_and_parent(int(entry.name))[1]
            except OSError:  # it ended meanwhile
                continue


def state_and_parent(pid: int) -> tuple[str, int]:
    """From /proc: the name, in parentheses, may hold anything; these two follow it."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)


def obey(orders: int, ward: Ward, farewell: int) -> None:
    """Pass orders on until the parent is gone."""
    parent = os.getppid()
    pending = b""
    while True:
        # Should another process have inherited the pipe, its end never comes:
        # so look at the parent itself as well.
        readable, _, _ = select.select([orders], [], [], PARENT_CHECK_SECONDS)
        if not readable and os.getppid() == parent:
            continue
        data = os.read(orders, 1024) if readable else b""
        if not data:
            ward.part(farewell)
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            ward.send(int(line))


def start(user: str, command: list[str]) -> subprocess.Popen[bytes]:
    if user == "-":
        return subprocess.Popen(command, start_new_session=True)  # noqa: S603  # its whole purpose
    uid = int(user)
    return subprocess.Popen(  # noqa: S603  # likewise
        command, start_new_session=True, user=uid, group=uid, extra_groups=[]
    )


def main() -> int:
    orders, report, farewell = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
    try:
        process = start(sys.argv[3], sys.argv[5:])
    except OSError as error:
        os.write(report, f"error {error}\n".encode())
        return 127
    os.write(report, f"pid {process.pid}\n".encode())
    os.close(report)
    ward = Ward(process)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        ward.send(farewell)

    # The guard leads its own session, so these come only from someone who means it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    threading.Thread(target=obey, args=(orders, ward, farewell), daemon=True).start()
    code = ward.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
