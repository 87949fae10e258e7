"""A saga whose definition has a mistake is parked, the mistake mended, and the saga moved."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.integration.cli.shell import Shell

MISTAKEN = """\
saga: parcel
version: 1
steps:
  go: {call: clerk.go, undo: clerk.come-back}
  buy: {call: clerk.buy, with: {how: ok}, pivot: true}
  note: {call: clerk.note, with: {what: "${ steps.buy.waht }"}}
output: {noted: "${ steps.note.what }"}
"""
MENDED = (
    MISTAKEN.replace("version: 1", "version: 2")
    .replace("waht", "what")
    .replace("output", "  tell: {call: clerk.tell}\noutput")
)
UNSOUND = MENDED.replace("version: 2", "version: 3").replace("clerk.go,", "clerk.walk,")


async def publish(shell: Shell, directory: Path, text: str) -> None:
    file = directory / "parcel.yaml"
    file.write_text(text)
    done = await shell.run("publish", str(file))
    assert done.code == 0, done.err


async def test_a_parked_saga_ends_by_the_version_that_mends_it(
    running: Shell, tmp_path: Path
) -> None:
    """First it is shown what would become of it; then it is ordered, and written down."""
    await publish(running, tmp_path, MISTAKEN)
    start = ("start", "parcel", "--key", "p-1", "--input", "{}", "--wait")
    while (begun := await running.run(*start)).code == 3:  # it is not known everywhere yet
        await asyncio.sleep(0.1)
    assert begun.code == 1
    gid = (await running.json("show", "parcel", "p-1"))["gid"]
    await publish(running, tmp_path, MENDED)
    await publish(running, tmp_path, UNSOUND)

    shown = await running.run("move", gid, "--to", "2", "--reason", "a typo")
    assert (shown.code, "nothing was ordered; --yes does it" in shown.err) == (1, True)
    told = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert told[:6] == [
        "parcel, version 1 → 2",
        "STEP",
        "go same",
        "buy same",
        "note changed with.what: ${ steps.buy.waht } → ${ steps.buy.what }",
        "tell new",
    ]
    told_hows = ["same", "same", "changed", "new"]
    assert told[-1] == f"{gid} p-1 keeps go and buy; goes on with note"
    looked = await running.json("move", gid, "--to", "2", "--reason", "a typo")
    assert looked["transactions"][0]["then"] == "keeps go and buy; goes on with note"
    assert [one["how"] for one in looked["differences"][0]["steps"]] == told_hows
    newest = await running.run("move", gid, "--yes", "--reason", "a typo")
    assert (newest.code, "go is done; version 3 does `clerk.walk`" in newest.out) == (1, True)
    assert (await running.json("show", gid))["version"] == 1

    done = await running.run(
        *("move", "--parked", "--name", "parcel", "--to", "2", "--yes"),
        *("--reason", "a typo", "--actor", "ann"),
    )
    assert (done.code, "obeyed" in done.out) == (0, True)

    while (told_ := await running.json("show", gid))["status"] != "ended":
        await asyncio.sleep(0.1)
    assert (told_["outcome"], told_["version"]) == ("COMMITTED", 2)
    assert told_["output"] == {"noted": "milk"}
    said = [one["said"] for one in told_["history"]]
    assert "ann ordered: move to version 2 (a typo)" in said
    assert "moved to version 2: from here on it goes by that" in said
    [order] = await running.json("orders", gid)
    assert (order["action"], order["to"], order["actor"]) == ("move", 2, "ann")
    again = await running.run("move", gid, "--to", "3", "--yes", "--reason", "once more")
    assert (again.code, "the outcome stands" in again.out) == (1, True)
    unknown = await running.run("move", gid, "--to", "9", "--reason", "x")
    assert (unknown.code, "version 9 is not published" in unknown.err) == (3, True)
