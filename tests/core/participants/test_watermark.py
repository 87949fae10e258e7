"""How far a partition is finished."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from participants.watermark import Watermark

HERE, THERE = ("t", 0), ("t", 1)


def holding(*offsets: int) -> Watermark:
    watermark = Watermark()
    watermark.hold({HERE})
    for offset in offsets:
        watermark.begin(HERE, offset)
    return watermark


def test_what_is_unfinished_holds_back_what_comes_after_it() -> None:
    watermark = holding(5, 6, 7)

    watermark.finish(HERE, 7)
    assert watermark.advances() == {HERE: 5}
    watermark.finish(HERE, 5)
    assert watermark.advances() == {HERE: 6}
    watermark.finish(HERE, 6)
    assert watermark.advances() == {HERE: 8}


def test_what_is_told_is_not_told_again() -> None:
    watermark = holding(5)
    watermark.finish(HERE, 5)

    watermark.told(watermark.advances())

    assert watermark.advances() == {}


def test_a_partition_that_is_lost_is_forgotten() -> None:
    """Its offsets are somebody else's to commit."""
    watermark = holding(5, 6)
    watermark.forget([HERE])

    watermark.finish(HERE, 5)
    watermark.begin(HERE, 7)

    assert watermark.advances() == {}
    assert watermark.unfinished == 0


def test_a_partition_that_comes_back_begins_where_it_is_read() -> None:
    watermark = holding(5, 6)
    watermark.forget([HERE])
    watermark.hold([HERE])

    watermark.begin(HERE, 5)

    assert watermark.advances() == {HERE: 5}


def test_partitions_do_not_wait_for_each_other() -> None:
    watermark = holding(5)
    watermark.hold([THERE])
    watermark.begin(THERE, 1)
    watermark.finish(THERE, 1)

    assert watermark.advances() == {HERE: 5, THERE: 2}


@given(st.permutations(range(10)), st.integers(0, 10))
def test_nothing_unfinished_is_ever_passed(order: list[int], many: int) -> None:
    watermark = holding(*range(100, 110))
    for offset in order[:many]:
        watermark.finish(HERE, 100 + offset)
    rest = order[many:]

    assert watermark.advances() == {HERE: 100 + min(rest) if rest else 110}
    assert watermark.unfinished == len(rest)
