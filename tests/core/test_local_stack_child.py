"""A guarded process: how it starts, ends, and is reported when it does neither."""

import signal
import sys
import time
from pathlib import Path

import pytest

from compose.local.child import Child, Command, run_to_end
from compose.local.errors import StackError, tail


def command(folder: Path, *argv: str) -> Command:
    return Command(
        name="a server",
        argv=argv,
        log=folder / "server.log",
        cwd=folder,
        farewell=signal.SIGKILL,
    )


def python(folder: Path, script: str) -> Command:
    return command(folder, sys.executable, "-c", script)


def never() -> bool:
    return False


def test_a_server_that_never_comes_up_is_killed_and_reported(tmp_path: Path) -> None:
    """The message has the time, the path of the log and its last lines."""
    child = Child.start(command(tmp_path, "sh", "-c", "echo waiting for the moon; exec sleep 60"))

    with pytest.raises(StackError, match=r"a server did not come up within 0\.3 seconds") as caught:
        child.await_ready(never, seconds=0.3)

    assert "waiting for the moon" in str(caught.value)
    assert str(tmp_path / "server.log") in str(caught.value)
    assert not child.alive


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The reason is the system's own."""
    with pytest.raises(StackError, match="No such file or directory: '/no/such/program'"):
        Child.start(command(tmp_path, "/no/such/program"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("bind: Address already in use", "its port is taken"),
        ("write: No space left on device", "the disk is full"),
        ("anything else", "ended with code 3"),
    ],
)
def test_common_causes_of_an_early_end_have_a_sentence(
    tmp_path: Path, words: str, sentence: str
) -> None:
    """Whoever sees the message need not know the server's own words."""
    with pytest.raises(StackError, match=sentence):
        run_to_end(command(tmp_path, "sh", "-c", f"echo '{words}'; exit 3"), seconds=5)


def test_a_program_that_should_end_by_itself_is_not_awaited_for_ever(tmp_path: Path) -> None:
    """It is killed when its time is up."""
    with pytest.raises(StackError, match=r"did not end within 0\.2 seconds"):
        run_to_end(command(tmp_path, "sleep", "60"), seconds=0.2)


DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


def test_one_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    """Stopping always ends it."""
    child = Child.start(python(tmp_path, DEAF))
    child.await_ready(lambda: "deaf" in child.log_text(), seconds=10)
    started = time.monotonic()

    child.stop(signal.SIGTERM, seconds=0.2)
    assert not child.alive
    assert time.monotonic() - started < 5


def test_the_log_of_an_earlier_run_is_kept_but_not_read(tmp_path: Path) -> None:
    """Else the second start would find the first one's message that it is ready."""
    run_to_end(command(tmp_path, "echo", "first"), seconds=5)
    child = Child.start(command(tmp_path, "echo", "second"))
    assert child.wait(5) == 0

    assert child.log_text() == "second\n"
    assert tail(tmp_path / "server.log") == ["first", "second"]
    child.stop()


def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    """So cleaning up needs no bookkeeping."""
    child = Child.start(command(tmp_path, "sleep", "60"))
    child.stop(signal.SIGTERM)
    child.stop(signal.SIGTERM)
    child.kill()

    assert not child.alive
