"""Versions are published while a coordinator runs, and found by what runs and what follows them."""

from __future__ import annotations

import asyncio

from tests.integration.cli.shell import DEFINITION, Shell

SECOND = DEFINITION.replace("version: 1", "version: 2\nindex: [how]")

TRIP = """\
saga: trip
version: 1
steps:
  first: {saga: errand, with: {how: stuck}}
"""


async def test_new_starts_follow_a_new_version_and_old_ones_their_own(running: Shell) -> None:
    """Nothing is restarted, and what is open under the old version stays there."""
    assert (await running.errand("old", "silent")).code == 0
    file = running.directory.parent / "second.yaml"
    file.write_text(SECOND)

    told = await running.json("publish", str(file))
    assert [(one["name"], one["version"], one["published"]) for one in told] == [
        ("errand", 2, True)
    ]
    assert not (await running.json("publish", str(file)))[0]["published"]
    async with asyncio.timeout(60):
        number, version = 0, 0
        while version != 2:
            number += 1
            assert (await running.errand(f"new-{number}", "ok", "--wait")).code == 0
            version = (await running.json("show", "errand", f"new-{number}"))["version"]

    counts = {one["version"]: one["open"] for one in await running.json("versions", "errand")}
    assert counts == {1: 1, 2: 0}
    assert [v["key"] for v in await running.json("list", "--where", "how=ok")] == [f"new-{number}"]


async def test_a_version_is_published_once(running: Shell) -> None:
    """Another text needs another number; and what is wrong is not published."""
    file = running.directory.parent / "other.yaml"
    file.write_text(SECOND.replace("[how]", "[]"))
    done = await running.run("publish", str(file))
    assert done.code == 1
    assert "published with another text" in done.err

    file.write_text(SECOND.replace("version: 2", "version: 0"))
    done = await running.run("publish", str(file))
    assert (done.code, "version" in done.out) == (1, True)


async def test_a_saga_says_which_part_of_it_is_parked(running: Shell) -> None:
    """It may be published once its part is, which comes with it or was there; and waits for it."""
    file = running.directory.parent / "trip.yaml"
    file.write_text(TRIP.replace("errand", "erand"))
    done = await running.run("publish", str(file))
    assert done.code == 1
    assert "trip.yaml:4:17" in done.out
    assert "`erand`, which is in none of the files given" in done.out

    file.write_text(TRIP)
    assert (await running.run("publish", str(file))).code == 0
    assert (await running.run("start", "trip", "--key", "t")).code == 0
    async with asyncio.timeout(60):
        while not (parked := (await running.json("show", "trip", "t"))["parked_parts"]):
            await asyncio.sleep(0.1)
    assert [(one["name"], one["status"]) for one in parked] == [("errand", "parked")]
    told = await running.run("show", "trip", "t")
    assert f"parked  {parked[0]['gid']}, a part of it: go could not be undone" in told.out
