"""Dead letters: what they say, which are meant, how they are put back and shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cli import letters
from coordinator.cli.letters import Address, Choice, Letter, Query
from coordinator.cli.output import printable
from wire.envelope import MAX_BODY_BYTES, MAX_KEY_BYTES, Record, bury
from wire.kafka import Received

HOUR_US = 3_600_000_000
HEADERS: list[tuple[str, bytes | None]] = [
    ("traceparent", b"00-1"),
    ("mine", b"\xff"),
    ("no", None),
]


def buried(offset: int = 0, *, origin: str = "orders/1/7", **told: Any) -> Letter:
    """Bury a record, and read it from the dead-letter topic."""
    given: dict[str, Any] = {
        "reason": "not JSON",
        "key": b"k",
        "value": b"{",
        "headers": HEADERS,
        **told,
    }
    at_ms = given.pop("at_ms", 1_000 + offset)
    record = bury(grave="dead", origin=origin, **given)
    return letters.letter(
        Received("dead", 0, offset, record.key, record.value, record.headers, at_ms)
    )


def after(record: Record, offset: int) -> Letter:
    """Bury a record that was put back."""
    return buried(offset, origin=f"orders/1/{offset}", headers=record.headers)


def test_what_is_put_back_is_what_was_buried() -> None:
    """Key, value, partition and its own headers; the mark names the dead letter."""
    record = letters.back(buried(5))

    assert (record.topic, record.partition, record.key, record.value) == ("orders", 1, b"k", b"{")
    assert record.headers == [
        ("traceparent", b"00-1"),
        ("mine", b"\xff"),
        ("no", b""),
        ("twofold-replayed", b"dead/0/5"),
    ]


def test_each_replay_leaves_its_mark() -> None:
    """Also when it was in vain, and buried again."""
    again = after(letters.back(buried(5)), 6)
    third = letters.back(again)

    assert again.replays == ["dead/0/5"]
    assert [value for name, value in third.headers if name == "twofold-replayed"] == [
        b"dead/0/5",
        b"dead/0/6",
    ]


@pytest.mark.parametrize(
    ("told", "partitions", "why"),
    [
        ({}, 2, ""),
        ({}, 1, "there is no orders/1 any more"),
        ({"origin": "nowhere"}, 2, "where it comes from"),
        ({"value": b"x" * (MAX_BODY_BYTES + 1)}, 2, "too large to be buried whole: body cut"),
        ({"value": b"x" * MAX_BODY_BYTES}, 2, ""),
        ({"key": b"x" * (MAX_KEY_BYTES + 1)}, 2, "key cut"),
        ({"headers": [("h", b"x" * 30_000)]}, 2, "headers cut"),
    ],
)
def test_half_of_a_record_is_not_put_back(told: Any, partitions: int, why: str) -> None:
    """It would be another record; nor is one whose place is not known or gone."""
    found = letters.obstacle(buried(**told), partitions)

    assert why in found if why else found == ""


def test_a_stranger_cannot_forge_the_headers_of_a_grave() -> None:
    """They are ours to write, and once only."""
    forged = buried(headers=[("twofold-origin", b"secret/0/0"), ("twofold-reason", b"fine")])

    assert (str(forged.origin), forged.reason, forged.headers) == ("orders/1/7", "not JSON", [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b-c_d/0/17", Address("a.b-c_d", 0, 17)),
        ("a/1", None),
        ("a/1/x", None),
        ("a/-1/2", None),
        ("a/1/2/3", None),
        ("/1/2", None),
        ("a/1/²", None),
        ("a/1/99999999999999999999", None),
        ("", None),
    ],
)
def test_an_address_is_three_things(text: str, found: Address | None) -> None:
    """And is written as it is read."""
    assert letters.address(text) == found
    assert found is None or str(found) == text


def test_each_record_is_chosen_once_and_not_after_it_was_put_back() -> None:
    """The newest first; another reason the second time hides the first all the same."""
    first, twice = buried(1), buried(2)
    vain = after(letters.back(buried(0, origin="orders/1/3")), 3)._replace(reason="sold out")
    choice = Choice(Query(reason="JSON"))
    for one in (vain, twice, first, buried(0, origin="orders/1/3")):
        choice.see(one)

    assert choice.letters == [twice]


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        (Query(), True),
        (Query(reason="json"), True),
        (Query(reason="xml"), False),
        (Query(topic="orders"), True),
        (Query(topic="order"), False),
        (Query(since_us=1_000_000), True),
        (Query(since_us=1_000_001), False),
        (Query("JSON", "orders", 1), True),
        (Query("JSON", "payments", 1), False),
    ],
)
def test_all_of_a_query_must_match(query: Query, *, matches: bool) -> None:
    """Words in any case, a topic exactly, a time inclusively."""
    assert query.matches(buried(at_ms=1_000)) is matches
    assert query.is_open == (query == Query())


def test_a_time_is_said_in_two_ways() -> None:
    """How long ago, or when; never without a zone."""
    assert letters.moment_us("2h", 5 * HOUR_US) == 3 * HOUR_US
    assert letters.moment_us("1970-01-01T03:00:00+01:00", 0) == 2 * HOUR_US
    for text in ("soon", "1970-01-01T03:00:00", "2 h"):
        with pytest.raises(ValueError, match=r"time zone|isoformat"):
            letters.moment_us(text, 0)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, ["(null)"]),
        (b"", ["(empty)"]),
        (b'{"a":[1]}', ["{", '  "a": [', "    1", "  ]", "}"]),
        ("grüße\nzwei".encode(), ["grüße", "zwei"]),
        (b"\x1b[2Jhi", ["000000  1b 5b 32 4a 68 69" + " " * 32 + ".[2Jhi"]),
    ],
)
def test_a_body_is_shown_as_what_it_is(value: bytes | None, lines: list[str]) -> None:
    """JSON in many lines, text as text, and the rest in hexadecimal."""
    assert letters.body_lines(value) == lines


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_no_body_steers_a_terminal(value: bytes) -> None:
    """Whatever is in it."""
    assert all(printable(line).isprintable() for line in letters.body_lines(value))


def test_a_long_body_is_cut_and_says_so() -> None:
    """A megabyte is not for reading; the whole is one option away."""
    for value in (b"x" * 5_000, b"\xff" * 5_000, b"[" + b"1," * 5_000 + b"1]"):
        shown = letters.body_lines(value)
        assert len("\n".join(shown)) < 40_000
        assert "more: `-o json` shows all" in shown[-1]


def test_json_has_all_of_it() -> None:
    """Bytes that are no text are in base64 as well."""
    told = letters.as_json(buried(value=b"\xff"), whole=True)

    assert (told["origin"], told["address"], told["size"]) == ("orders/1/7", "dead/0/0", 1)
    assert (told["body"], told["body_base64"]) == (None, "/w==")
    assert {"name": "traceparent", "value": "00-1"} in told["headers"]
