"""Whether a process can coordinate, by what its parts say."""

from __future__ import annotations

from coordinator.readiness import Readiness


def test_it_is_ready_once_all_its_parts_have_begun() -> None:
    """One that is missing is enough."""
    readiness = Readiness()
    readiness.expect(["store 0", "triggers"])
    readiness.begun("store 0")
    assert list(readiness.unready()) == ["triggers: it has not begun yet"]
    readiness.begun("triggers")
    assert list(readiness.unready()) == []


def test_a_part_that_has_ended_is_away_until_it_begins_again() -> None:
    """With the reason of the last time."""
    readiness = Readiness()
    readiness.expect(["store 0"])
    for why in ("the log is gone", "it is gone again"):
        readiness.begun("store 0")
        readiness.ended("store 0", why)
        assert list(readiness.unready()) == [f"store 0: {why}"]
    readiness.begun("store 0")
    assert list(readiness.unready()) == []


def test_a_part_that_is_silent_for_a_lease_is_away() -> None:
    """Others take its shards then."""
    silent_s = [2.4]
    readiness = Readiness()
    readiness.begun("store 0", lambda: silent_s[0])
    assert list(readiness.unready()) == []
    silent_s[0] = 2.6
    assert list(readiness.unready()) == ["store 0: its log has not answered for 2.6 s"]
