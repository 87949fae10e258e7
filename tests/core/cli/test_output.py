"""Commands whose output nobody reads to its end."""

from __future__ import annotations

import subprocess
import sys


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`twofold … | head`: it ends as what ended by SIGPIPE would, and blames no server."""
    command = f"{sys.executable} -m coordinator.cli.main schema"
    code = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("141\n", "")
