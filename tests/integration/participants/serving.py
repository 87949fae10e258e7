"""What is asked of a worker, and a way to wait for what becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from wire.messages import (
    Execute,
    Prepare,
)

Serve = Callable[..., AbstractAsyncContextManager[None]]


def execute(gid: str, data: Any = None, command: str = "write") -> Execute:
    return Execute(gid=gid, step="s", attempt=1, command=command, data=data)


def prepare(gid: str, data: Any = None, *, branch: str = "b", command: str = "write") -> Prepare:
    return Prepare(gid=gid, branch=branch, command=command, data=data)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < until, "it did not come to that"
        await asyncio.sleep(0.05)
