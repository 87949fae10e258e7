"""Who is served first, and how many at once."""

from __future__ import annotations

from participants.backlog import Backlog, Job
from wire.messages import Commit, Prepare, Rollback

HERE = ("bank.commands", 0)


def prepare(number: int, offset: int = 0) -> Job:
    message = Prepare(gid=f"g{number}", branch="b", command="c", data=None)
    return Job(message, sources=[(HERE, offset)])


def commit(number: int) -> Job:
    return Job(Commit(gid=f"g{number}", branch="b"))


def filled(*jobs: Job, lanes: int = 8, held_limit: int = 4, waiting_limit: int = 10) -> Backlog:
    backlog = Backlog(lanes=lanes, held_limit=held_limit, waiting_limit=waiting_limit)
    for job in jobs:
        backlog.add(job, held=False)
    return backlog


def taken(backlog: Backlog, held: int = 0) -> list[str]:
    found: list[str] = []
    while (job := backlog.take(held)) is not None:
        found.append(f"{type(job.message).__name__} {job.message.gid}")
    return found


def test_decisions_overtake_prepares() -> None:
    rollback = Job(Rollback(gid="g3", branch="b"))
    backlog = filled(prepare(1), commit(2), rollback)

    assert taken(backlog) == ["Commit g2", "Rollback g3", "Prepare g1"]


def test_no_more_are_prepared_than_may_be_held() -> None:
    """Those at work count: they will be held."""
    assert taken(filled(*map(prepare, range(6))), held=1) == [
        "Prepare g0",
        "Prepare g1",
        "Prepare g2",
    ]


def test_with_all_places_held_only_decisions_run() -> None:
    assert taken(filled(prepare(1), commit(2)), held=4) == ["Commit g2"]


def test_some_lanes_are_kept_for_decisions() -> None:
    """Prepares may all be waiting for a lock that a decision would release."""
    backlog = filled(*map(prepare, range(6)), lanes=4, held_limit=100)

    assert len(taken(backlog)) == 2
    backlog.add(commit(7), held=False)
    backlog.add(commit(8), held=False)
    assert taken(backlog) == ["Commit g7", "Commit g8"]


def test_a_lone_lane_serves_both() -> None:
    backlog = filled(prepare(1), lanes=1)
    assert taken(backlog) == ["Prepare g1"]


def test_a_prepare_of_what_is_held_waits_for_no_place() -> None:
    backlog = filled()
    assert backlog.add(prepare(1), held=True) is not None
    assert taken(backlog, held=4) == ["Prepare g1"]


def test_the_same_command_twice_is_one_job_with_two_sources() -> None:
    first, second = prepare(1, offset=3), prepare(1, offset=9)
    backlog = filled(first)

    assert backlog.add(second, held=False) is first

    assert taken(backlog) == ["Prepare g1"]
    assert first.sources == [(HERE, 3), (HERE, 9)]
    assert backlog.add(prepare(1, offset=12), held=False) is first
    backlog.done(first)
    assert backlog.unfinished == 0
    again = prepare(1)
    assert backlog.add(again, held=False) is again


def test_too_many_waiting_prepares_are_sent_away_but_never_a_decision() -> None:
    backlog = filled(prepare(1), prepare(2), waiting_limit=2)

    assert backlog.add(prepare(3), held=False) is None
    assert backlog.add(commit(3), held=False) is not None


def test_a_finished_job_gives_its_lane_back() -> None:
    backlog = filled(prepare(1), prepare(2), held_limit=1)
    job = backlog.take(0)
    assert job is not None
    assert backlog.take(0) is None

    backlog.done(job)

    assert taken(backlog) == ["Prepare g2"]


def test_the_oldest_transaction_is_served_first_and_equals_in_order_of_arrival() -> None:
    """In every database alike, so that few take their locks in opposite orders."""
    assert taken(filled(prepare(3), prepare(1), prepare(2))) == [
        "Prepare g1",
        "Prepare g2",
        "Prepare g3",
    ]
    twins = [
        Job(Prepare(gid=gid, branch="b", command="c", data=None)) for gid in ("x.7", "y.7", "a.7")
    ]
    assert taken(filled(*twins)) == ["Prepare x.7", "Prepare y.7", "Prepare a.7"]


def test_what_got_no_slot_keeps_its_place_and_no_more_are_tried_than_fit() -> None:
    backlog = filled(*map(prepare, range(4)))
    first = backlog.take(held=0)
    assert first is not None
    backlog.put_back(first, held=2)

    assert backlog.narrow
    assert taken(backlog, held=2) == []
    assert taken(backlog, held=1) == ["Prepare g0"]
    backlog.widen()
    assert taken(backlog, held=1) == ["Prepare g1"]


def test_in_the_end_as_many_fit_as_before() -> None:
    backlog = filled(prepare(1))
    job = backlog.take(held=0)
    assert job is not None
    backlog.put_back(job, held=0)
    assert taken(backlog) == []
    for _ in range(10):
        backlog.widen()

    assert not backlog.narrow
    for number in range(2, 9):
        backlog.add(prepare(number), held=False)
    assert len(taken(backlog)) == 4
