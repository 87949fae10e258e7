"""The names of transactions: read as written, safe to quote, in order of time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.gids import (
    Gid,
    is_start_key,
    parse,
    parse_prepared,
    prepared_name,
    shard_of_start,
    unique_of_start,
    uuid7,
)

UNIQUE = "0" * 12 + "7" + "0" * 3 + "8" + "0" * 15
clusters = st.from_regex(r"[a-z0-9-]{1,24}", fullmatch=True)
uniques = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
gids = st.builds(Gid, clusters, st.integers(0, 999_999), st.integers(0, 99_999), uniques)
branches = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
FAST = settings(max_examples=100, deadline=None)


@FAST
@given(gid=gids, branch=branches)
def test_a_name_is_read_as_it_was_written(gid: Gid, branch: str) -> None:
    """Both names, and both fit Postgres's 200 bytes and its quotes."""
    name = prepared_name(str(gid), branch)

    assert parse(str(gid)) == gid
    assert parse_prepared(name) == (gid, branch)
    assert len(name.encode()) <= 118
    assert re.fullmatch(r"[a-z0-9._-]+", name)


def test_the_longest_name_fits() -> None:
    """Every part at its limit."""
    gid = Gid("c" * 24, 999_999, 99_999, UNIQUE)

    assert len(prepared_name(str(gid), "b" * 40)) == 115


GOOD = f"tf1.c.1.0.{UNIQUE}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tf2" + GOOD[3:],
        GOOD + "0",
        GOOD[:-1],
        GOOD + "\n",
        " " + GOOD,
        GOOD.replace(".c.", "..", 1),
        GOOD.replace("tf1.c", "tf1.C"),
        GOOD.replace("tf1.c", "tf1." + "c" * 25),
        GOOD.replace(".1.0.", ".1000000.0."),
        GOOD.replace(".1.0.", ".1.100000."),
        GOOD.replace(".1.0.", ".-1.0."),
        GOOD.replace("7", "G"),
        GOOD.replace("tf1.c", "tf1.c'"),
    ],
)
def test_a_strangers_name_is_none_of_ours(text: str) -> None:
    """Foreign prepared transactions are never touched."""
    assert parse(text) is None
    assert parse_prepared(text + ".b") is None


@pytest.mark.parametrize("text", [GOOD.replace(".1.", ".\u0661."), GOOD.replace(".0.", ".\u0660.")])
def test_only_ascii_digits_are_digits(text: str) -> None:
    """Unicode knows hundreds; a name goes into SQL as a literal."""
    assert parse(text) is None
    with pytest.raises(ValueError, match="cannot name"):
        prepared_name(text, "b")


def test_a_transaction_has_one_name() -> None:
    """A number with leading zeros would be a second name of the same transaction."""
    assert parse(GOOD.replace(".1.0.", ".01.00.")) is None


@FAST
@given(text=st.text(max_size=60))
def test_any_text_is_a_name_or_none(text: str) -> None:
    """What comes over the wire raises nothing."""
    found = parse(text)

    assert found is None or str(found) == text


@pytest.mark.parametrize(
    "branch", ["", "B", "1b", "b-c", "b'c", "b" * 41, "b\n", "b.c", "b;drop", "\u00e9"]
)
def test_a_branch_that_could_not_be_quoted_is_refused(branch: str) -> None:
    """The name becomes an SQL literal: letters, digits and underscores only."""
    with pytest.raises(ValueError, match="cannot name a prepared transaction"):
        prepared_name(GOOD, branch)


# ── UUIDv7 ───────────────────────────────────────────────────────────────────

moments = st.integers(0, (2**48 - 1) * 1000)
bits = st.integers(0, 2**80 - 1)


@FAST
@given(now_us=moments, random80=bits)
def test_a_uuid_has_its_version_and_its_time(now_us: int, random80: int) -> None:
    """RFC 9562: version 7, variant 10, milliseconds first."""
    text = uuid7(now_us, random80)

    assert re.fullmatch(r"[0-9a-f]{32}", text)
    assert text[12] == "7"
    assert text[16] in "89ab"
    assert Gid("c", 1, 0, text).began_us == now_us // 1000 * 1000


@FAST
@given(one=moments, other=moments, random80=bits)
def test_uuids_sort_by_their_millisecond(one: int, other: int, random80: int) -> None:
    """Whatever the random bits: indexes stay compact."""
    if one // 1000 < other // 1000:
        assert uuid7(one, random80) < uuid7(other, 2**80 - 1 - random80)


@FAST
@given(now_us=moments, random80=bits, bit=st.sampled_from([*range(62), *range(64, 76)]))
def test_each_random_bit_counts(now_us: int, random80: int, bit: int) -> None:
    """74 of them: a collision in one millisecond stays unlikely."""
    assert uuid7(now_us, random80) != uuid7(now_us, random80 ^ 1 << bit)


# ── shards ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("definition", "key", "shards", "shard"),
    [
        ("place-order", "42", 16, 2),
        ("place-order", "43", 16, 6),
        ("transfer", "42", 16, 4),
        ("transfer", "", 7, 5),
        ("transfer", "\u00fc", 10_000, 3_257),
    ],
)
def test_a_start_keeps_its_shard_for_ever(
    definition: str, key: str, shards: int, shard: int
) -> None:
    """Golden values: another hash would let a key start twice after an upgrade."""
    assert shard_of_start(definition, key, shards) == shard


def test_starts_spread_over_shards() -> None:
    """No shard gets twice its share of a thousand."""
    counts = [0] * 8
    for n in range(1000):
        counts[shard_of_start("transfer", str(n), 8)] += 1

    assert max(counts) < 250
    assert min(counts) > 62


def test_definition_and_key_do_not_run_together() -> None:
    """("a", "bc") and ("ab", "c") are different starts."""
    assert shard_of_start("a", "bc", 2**62) != shard_of_start("ab", "c", 2**62)


@pytest.mark.parametrize("key", ["", "a\nb", "\0", "\ud800", "k" * 501])
def test_what_no_start_key_may_be(key: str) -> None:
    """What cannot be shown, stored, or written on the wire."""
    assert not is_start_key(key)
    assert is_start_key("order 17/ä")


def test_the_record_that_asks_for_a_transaction_gives_it_its_name() -> None:
    """And another record another one, be it only a recreated topic's."""
    asked = (1_700_000_000_123, 3, 17, "k", "sha256:1")
    others = [
        (1_700_000_000_124, 3, 17, "k", "sha256:1"),
        (1_700_000_000_123, 2, 17, "k", "sha256:1"),
        (1_700_000_000_123, 3, 18, "k", "sha256:1"),
        (1_700_000_000_123, 3, 17, "l", "sha256:1"),
        (1_700_000_000_123, 3, 17, "k", "sha256:2"),
    ]
    name = unique_of_start(*asked)

    assert name == unique_of_start(*asked)
    assert len({name, *(unique_of_start(*other) for other in others)}) == len(others) + 1
    assert Gid("main", 1, 3, name).began_us == 1_700_000_000_123_000
    assert unique_of_start(-1, 0, 0, "k", "sha256:1").startswith("0" * 12)
