"""What a person mends by hand: orders for what is parked or runs, and dead letters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from compose.local.stack import Kafka
from tests.integration.cli.shell import Shell
from wire.envelope import Record
from wire.kafka import Producer

# ── orders ───────────────────────────────────────────────────────────────────


async def test_what_is_parked_goes_on_when_a_person_says_so(running: Shell) -> None:
    """Each order is told what became of it, and is in the log with its reason."""
    assert (await running.errand("k-stuck", "stuck", "--wait")).code == 1
    [parked] = await running.json("list", "--status", "parked")
    gid = parked["gid"]

    looked = await running.run("retry", "--parked", "--reason", "the way is free")
    assert (looked.code, looked.out) == (1, "")
    assert "would retry 1 transactions" in looked.err
    wrong = await running.run("skip", gid, "--step", "buy", "--reason", "a mistake")
    assert wrong.code == 1
    assert "refused: buy is not what it is parked for; go can be skipped" in wrong.out
    done = await running.run(
        "retry", "--parked", "--yes", "--reason", "the way is free", "--actor", "ann"
    )
    assert done.code == 0
    assert "obeyed" in done.out

    while (told := await running.json("show", gid))["status"] != "ended":
        await asyncio.sleep(0.1)
    assert told["outcome"] == "COMPENSATED"
    again = await running.run("retry", gid, "--reason", "once more")
    assert (again.code, "the outcome stands" in again.out) == (1, True)
    trail = await running.json("orders", gid)
    assert [(one["action"], "refused" in one) for one in trail] == [
        ("retry", True),
        ("retry", False),
        ("skip", True),
    ]
    assert trail[1]["actor"] == "ann"
    assert trail[1]["reason"] == "the way is free"
    assert await running.json("retry", "--parked", "--reason", "once more") == []


async def test_what_runs_can_be_aborted(running: Shell) -> None:
    """It is undone, and its log says who wanted it so."""
    await running.errand("k-abort", "silent")
    gid = (await running.json("show", "errand", "k-abort"))["gid"]

    assert (await running.run("abort", gid, "--reason", "a typo", "--actor", "bob")).code == 0

    while (told := await running.json("show", gid))["status"] != "ended":
        await asyncio.sleep(0.1)
    assert (told["outcome"], told["reason"]) == ("COMPENSATED", "bob: a typo")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["retry", "--reason", "x"], 2, "say which"),
        (["retry", "gid", "--parked", "--reason", "x"], 2, "not both"),
        (["resolve", "gid", "--reason", "x"], 2, "say how it ended"),
        (["resolve", "gid", "--commit", "--rollback", "--reason", "x"], 2, "not both"),
        (["abort", "nobody", "--reason", "x"], 1, "there is no transaction nobody"),
        (["abort", "gid", "--reason", " "], 2, "say why"),
    ],
)
async def test_an_order_that_means_nothing_is_not_given(
    ready: Shell, args: list[str], code: int, said: str
) -> None:
    done = await ready.run(*args)

    assert done.code == code
    assert said in done.err


# ── dead letters ─────────────────────────────────────────────────────────────


async def test_a_dead_letter_is_found_shown_and_put_back(running: Shell, kafka: Kafka) -> None:
    """Nothing is sent before --yes; what is put back is read again, and may die again."""
    producer = Producer(kafka.bootstrap)
    await producer.start()
    headers = [("ce_type", b"twofold.begin.v1"), ("traceparent", b"mine")]
    await producer.burst([Record("mending.requests", b"torn", b'{"torn', headers, 0)])
    await producer.stop()

    def torn(found: list[Any]) -> list[Any]:
        return [one for one in found if one["key"] == "torn"]

    async def until_buried(times: int) -> list[Any]:
        while (
            len(found := torn(await running.json("dlq", "list", "--topic", "mending.requests")))
            < times
        ):
            await asyncio.sleep(0.1)
        return found

    [first] = await until_buried(1)
    assert first["reason"].startswith("twofold.begin.v1: ")
    assert first["origin"].startswith("mending.requests/0/")
    table = (await running.run("dlq", "list")).out.splitlines()
    assert table[0].split() == ["TIME", "ORIGIN", "SIZE", "REPLAYS", "KEY", "REASON"]
    assert first["origin"] in table[1]

    shown = (await running.run("dlq", "show", first["origin"])).out
    for line in (f"as {first['address']}", "traceparent  mine", '{"torn'):
        assert line in shown
    assert await running.json("dlq", "show", first["address"]) == await running.json(
        "dlq", "show", first["origin"]
    )

    preview = await running.run("dlq", "replay", first["origin"])
    assert (preview.code, first["origin"] in preview.out) == (0, True)
    assert "nothing was sent; --yes puts back 1" in preview.err
    done = await running.run("dlq", "replay", "--reason", "begin.v1", "--since", "1h", "--yes")
    assert (done.code, "1 put back" in done.out) == (0, True)

    [again, before] = await until_buried(2)
    assert before == first
    assert again["replays"] == [first["address"]]
    assert again["origin"] != first["origin"]
    # The first is not offered any more: it has come back as the second.
    offered = await running.json("dlq", "replay", "--topic", "mending.requests")
    assert [one["address"] for one in torn(offered)] == [again["address"]]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (
            ["show", "mending.requests/0/99999"],
            1,
            "there is no dead letter mending.requests/0/99999",
        ),
        (["show", "mending.requests"], 3, "Give TOPIC/PARTITION/OFFSET"),
        (["replay", "mending.requests/0/99999"], 3, "there is no dead letter"),
        (["replay", "--reason", "nobody ever said this"], 1, "there is no such dead letter"),
        (["list", "--since", "soon"], 3, "Give how long ago"),
        (["replay"], 2, "one of both"),
    ],
)
async def test_a_dead_letter_that_is_not_there_is_a_no(
    ready: Shell, args: list[str], code: int, said: str
) -> None:
    """And a command line that means nothing says what would."""
    done = await ready.run("dlq", *args)

    assert done.code == code
    assert said in done.err
