"""Who is asked about what has been in doubt for long."""

from __future__ import annotations

from typing import Any, cast

import pytest

from participants import resolver
from participants.resolver import Patience, Resolver
from wire.messages import Inquired

OLD_MS = 60_000


class Prepared:
    """A database with these transactions prepared, the oldest first."""

    def __init__(self, *names: str) -> None:
        self.names = names

    async def survey(self) -> list[tuple[str, int]]:
        return [(name, OLD_MS) for name in self.names]


def name(number: int, cluster: str = "test") -> str:
    return f"tf1.{cluster}.1.0.{number:032x}.debit"


async def test_all_are_asked_about_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest may be such as nobody knows, for ever: others are not to wait for them."""
    monkeypatch.setattr(resolver, "INQUIRIES", 2)
    asked: list[Inquired] = []
    five = Prepared(*(name(n) for n in range(5)), name(9, cluster="other"))
    ours = Resolver(
        "bank", cast("Any", five), cluster="test", patience=Patience(), ask=asked.append
    )

    for _ in range(4):
        await ours.look()

    assert [int(one.gid[-1]) for one in asked] == [0, 1, 2, 3, 4, 0, 1]
