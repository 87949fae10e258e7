"""Commands of a log that is no more."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from participants.generations import RAISE, READ, Generations

GID = "tf1.test.1.3." + "0" * 32
LATER = "tf1.test.2.3." + "0" * 32
NEIGHBOUR = "tf1.test.1.4." + "0" * 32


class Rows:
    """A database that remembers generations, and nothing else."""

    def __init__(self, *, migrated: bool = True) -> None:
        self.rows: dict[tuple[str, int], int] = {}
        self.written = 0
        self._migrated = migrated

    async def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        assert sql == READ
        if not self._migrated:
            raise asyncpg.UndefinedTableError("relation does not exist")
        return [(*shard, generation) for shard, generation in self.rows.items()]

    async def execute(self, sql: str, cluster: str, shard: int, generation: int) -> None:
        assert sql == RAISE
        self.written += 1
        self.rows[cluster, shard] = max(generation, self.rows.get((cluster, shard), 0))


async def test_a_log_that_was_never_restored_costs_no_statement() -> None:
    """Neither one that says its generation nor one that does not know of any."""
    rows, generations = Rows(), Generations()
    await generations.learn(rows)

    assert [await generations.admits(rows, GID, spoken) for spoken in (1, None)] == [True, True]
    assert rows.written == 0


async def test_a_higher_generation_is_remembered_and_a_lower_one_refused() -> None:
    """By the database, so that the next process knows it as well."""
    rows, generations = Rows(), Generations()

    assert await generations.admits(rows, GID, 2)
    assert not await generations.admits(rows, GID, 1)
    assert await generations.admits(rows, GID, 2)
    assert rows.written == 1
    later = Generations()
    await later.learn(rows)
    assert not await later.admits(rows, GID, 1)


async def test_a_generation_that_others_have_raised_further_meanwhile_is_refused() -> None:
    """Nothing was written for it, so nothing says that it still counts."""
    rows, generations = Rows(), Generations()
    await generations.learn(rows)
    assert await Generations().admits(rows, GID, 3)

    assert not await generations.admits(rows, GID, 2)
    assert await generations.admits(rows, GID, 3)
    assert rows.rows["test", 3] == 3


@pytest.mark.parametrize(("gid", "admitted"), [(GID, False), (LATER, True)])
async def test_who_says_no_generation_has_that_of_the_transaction(
    gid: str, *, admitted: bool
) -> None:
    """A coordinator of an older version."""
    rows, generations = Rows(), Generations()
    rows.rows["test", 3] = 2
    await generations.learn(rows)

    assert await generations.admits(rows, gid, None) is admitted


async def test_each_shard_has_its_own() -> None:
    """Another store of the same log was not restored."""
    rows, generations = Rows(), Generations()
    rows.rows["test", 3] = 2
    await generations.learn(rows)

    assert not await generations.admits(rows, GID, 1)
    assert await generations.admits(rows, NEIGHBOUR, 1)


async def test_a_database_without_the_table_remembers_nothing() -> None:
    """It is about to be migrated."""
    rows, generations = Rows(migrated=False), Generations()
    await generations.learn(rows)

    assert await generations.admits(rows, GID, 1)
