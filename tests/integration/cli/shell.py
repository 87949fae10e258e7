"""The `twofold` command as a person runs it, and a participant, the clerk.

The clerk does what an input's ``how`` says.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from wire import gids
from wire.envelope import Envelope, seal, unseal
from wire.kafka import GroupReader, Producer
from wire.messages import AnyMessage, Compensate, Compensated, Execute, Executed, Result

SHARDS = 2
DEFINITION = """\
saga: errand
version: 1
input:
  type: object
  required: [how]
steps:
  go: {call: clerk.go, undo: clerk.come-back, with: {how: "${ input.how }"}}
  buy: {call: clerk.buy, undo: clerk.return, with: {how: "${ input.how }"}}
output: {bought: "${ steps.buy.what }"}
"""


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


class Shell:
    """Runs `twofold`, in an environment of its own."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = {**os.environ, **environment}

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        """Start a command."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "coordinator.cli.main",
            *args,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *args: str) -> Done:
        """Run a command to its end. None of them may show a traceback."""
        return await self.end(await self.start(*args))

    async def end(self, process: asyncio.subprocess.Process) -> Done:
        """Wait for a command's end."""
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert b"Traceback" not in err, err.decode()
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    async def json(self, *args: str) -> Any:
        """Run a command, and read the JSON that it prints."""
        done = await self.run(*args, "-o", "json")
        return json.loads(done.out)

    async def errand(self, key: str, how: str, *args: str) -> Done:
        """Start an errand."""
        given = json.dumps({"how": how})
        return await self.run("start", "errand", "--key", key, "--input", given, *args)


async def lines_until(process: asyncio.subprocess.Process, word: str) -> list[str]:
    """Read a process's log until it says a word."""
    lines: list[str] = []
    assert process.stderr is not None
    while not lines or word not in lines[-1]:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, lines
        lines.append(line.decode())
    return lines


async def play_the_clerk(bootstrap: str, prefix: str) -> None:
    """Answer commands, except those that are to be met with silence."""
    reader = GroupReader(bootstrap, ["clerk.commands"], group=f"{prefix}-clerk")
    producer = Producer(bootstrap)
    await reader.start()
    await producer.start()
    try:
        while True:
            for record in await reader.poll(wait_ms=100, limit=100):
                reply = answer(unseal(record.headers, record.value).message)
                if reply is not None:
                    gid = gids.parse(reply.gid)
                    assert gid is not None
                    await producer.burst(
                        [
                            seal(
                                Envelope(reply),
                                topic=f"{prefix}.replies",
                                source="/clerk",
                                key=reply.gid,
                                partition=gid.shard,
                            )
                        ]
                    )
    finally:
        await reader.stop()
        await producer.stop()


def answer(message: AnyMessage) -> Executed | Compensated | None:
    """Do as the input says."""
    match message:
        case Execute(step="buy", data={"how": "silent"}):
            return None
        case Execute(gid=gid, step=step, attempt=attempt):
            refused = step == "buy" and message.data["how"] in {"refuse", "stuck"}
            return Executed(
                gid=gid,
                step=step,
                attempt=attempt,
                result=Result.REFUSED if refused else Result.DONE,
                reason="sold out" if refused else "",
                data={"what": "milk"},
            )
        case Compensate(gid=gid, step=step, attempt=attempt):
            stuck = attempt == 1 and message.data["how"] == "stuck"
            result = Result.REFUSED if stuck else Result.DONE
            return Compensated(gid=gid, step=step, attempt=attempt, result=result)
        case _:
            return None
