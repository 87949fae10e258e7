"""Commands whose output nobody reads to its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from coordinator.cli.errors import TROUBLE


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`twofold … | head`: it ends as what ended by SIGPIPE would, and blames no server."""
    command = f"{sys.executable} -m coordinator.cli.main schema"
    code = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("141\n", "")


def test_a_full_disk_is_told_in_a_sentence() -> None:
    """It is nobody's bug."""
    command = [sys.executable, "-m", "coordinator.cli.main", "schema"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == TROUBLE
    assert done.stderr == "error: the answer could not be written: No space left on device.\n"
