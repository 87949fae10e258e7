"""Moving a parked saga to a newer version: what goes on by it, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from coordinator.core import machine, moving
from coordinator.core.moving import Standing
from coordinator.core.records import Moved, Ordered, Outcome, StepRefused
from coordinator.core.saga_state import Phase, StepPhase
from sagas.model import Busy, Call, Each, InputRefused, Json, Lock, OnUnknown, Saga, Step
from tests.core.coordinator.builders import (
    Story,
    approving,
    atomic,
    compensated,
    constant,
    executed,
    gate,
    look_up,
    saga,
    settled,
    step,
    told,
    undo,
    voted,
    waiting,
)
from wire.messages import Action, Compensate, End, Execute, LockGranted, LockRelease, Result, Vote
from wire.messages import Outcome as Told


def newer(*steps: Step, version: int = 2, **changed: Any) -> Saga:
    """Make a later version of the saga that all tests here begin with."""
    made = replace(saga(*steps), version=version, hash=f"sha256:saga-{version}")
    return replace(made, **changed)


def refusal(story: Story) -> str:
    """Say why the last order was refused."""
    return [record for record in story.records if isinstance(record, Ordered)][-1].refused


def asked(story: Story) -> list[tuple[str, Json]]:
    """Name the steps that the last transition asks for, and what they get."""
    messages = [send.message for send in story.last.sends]
    return [(m.step, m.data) for m in messages if isinstance(m, Execute | Compensate)]


def parked(story: Story) -> Story:
    assert story.saga.phase is Phase.PARKED, story.saga.phase
    story.publish()
    return story


STOCK = step("stock")
PAY = step("pay", "stock", pivot=True)


def mail(path: str = "id", **said: Any) -> Step:
    return step("mail", "pay", back=False, data=look_up("steps", "pay", path), attempts=1, **said)


def mistaken() -> Story:
    """The money is taken, and what the mail needs is written wrong."""
    story = Story.begin(saga(STOCK, PAY, mail("idd")))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    assert StepRefused(
        step="mail", attempt=1, reason="steps.pay.idd has no value", asked=False
    ) in (story.records)
    return parked(story)


def answered(result: Result, attempts: int = 1, **said: Any) -> Story:
    """The money is taken, and the mail was asked for in vain."""
    story = Story.begin(saga(STOCK, PAY, mail(**said)))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    for attempt in range(1, attempts + 1):
        story.hear(executed("mail", result, attempt, reason="no such address"))
    return parked(story)


def silent() -> Story:
    """The money is taken, and nobody knows whether the mail was sent."""
    story = Story.begin(saga(STOCK, PAY, mail()))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    story.sleep()
    return parked(story)


def unknown() -> Story:
    """Nobody knows whether the stock is reserved."""
    lone = step("stock", attempts=1, on_unknown=OnUnknown.PARK)
    story = Story.begin(saga(lone, PAY))
    story.sleep()
    return parked(story)


def stuck(result: Result = Result.FAILED) -> Story:
    """The payment was refused, and the stock cannot be given back."""
    story = Story.begin(saga(step("stock", back=undo("stock", attempts=1)), PAY))
    story.hear(executed("stock"))
    story.hear(executed("pay", Result.REFUSED))
    if result is Result.DONE:
        story.sleep()
    else:
        story.hear(compensated("stock", result))
    return parked(story)


# ── what goes on ─────────────────────────────────────────────────────────────


def test_a_saga_ends_by_the_version_that_mends_what_parked_it() -> None:
    """What is done stays done, with its results; what was never asked is asked anew."""
    story = mistaken()

    move = story.move(newer(STOCK, PAY, mail(), step("log", "mail", back=False)))

    assert Moved(definition="sha256:saga-2", version=2) in move.records
    assert told(move) == ["mail <- Execute 1"]
    assert asked(story) == [("mail", "p-1")]
    assert told(story.hear(executed("mail"))) == ["log <- Execute 1"]
    story.hear(executed("log"))
    [outcome] = [send.message for send in story.last.sends]
    assert isinstance(outcome, Told)
    assert outcome.version == story.saga.definition.version
    story.publish()
    assert (story.saga.phase, story.saga.outcome) == (Phase.ENDED, Outcome.COMMITTED)


def test_the_time_of_a_saga_begins_anew_when_it_is_moved() -> None:
    story = mistaken()
    story.wait(10_000)

    story.move(newer(STOCK, PAY, mail()))

    assert story.saga.deadline_us == story.now_us + story.saga.definition.deadline_us


def test_a_new_owner_goes_on_by_the_version_to_which_it_was_moved() -> None:
    story = mistaken()
    story.move(newer(STOCK, PAY, mail(), step("log", "mail", back=False)))

    story.take_over()

    assert told(story.hear(executed("mail"))) == ["log <- Execute 1"]


def test_it_can_be_moved_again() -> None:
    story = mistaken()
    story.move(newer(STOCK, PAY, mail("other")))
    parked(story)

    story.move(newer(STOCK, PAY, mail(), version=3), 3)

    assert story.saga.begun.version == 3
    assert told(story.last) == ["mail <- Execute 1"]


def test_what_was_refused_is_done_under_another_name() -> None:
    """Its participant remembers the no; nothing is left of it but the memory."""
    story = answered(Result.REFUSED)

    move = story.move(newer(STOCK, PAY, step("letter", "pay", back=False)))

    assert told(move) == ["letter <- Execute 1"]
    assert story.saga.left == {"mail"}
    assert story.hear(executed("mail")).dropped


def test_what_was_refused_may_be_gone_without_another() -> None:
    story = answered(Result.REFUSED)

    story.move(newer(STOCK, PAY))

    assert (story.saga.phase, story.saga.outcome) == (Phase.CLOSED, Outcome.COMMITTED)


def test_what_has_failed_may_get_something_else() -> None:
    """Its participant has said that it was not done: so it may be asked for something else."""
    story = answered(Result.FAILED)

    other = replace(mail(), work=Call("mail", "post"), data=constant("by hand"))
    move = story.move(newer(STOCK, PAY, other))

    assert told(move) == ["mail <- Execute 2"]
    assert asked(story) == [("mail", "by hand")]
    story.hear(executed("mail", attempt=2))
    assert story.saga.outcome is Outcome.COMMITTED


def test_what_nobody_knows_is_asked_for_again_as_it_was() -> None:
    """The rest of its words may be others."""
    story = silent()

    move = story.move(newer(STOCK, PAY, mail(timeout_s=90, condition=constant(value=True))))

    assert told(move) == ["mail <- Execute 2"]


def test_an_undo_that_failed_is_mended() -> None:
    story = stuck()

    other = undo("stock", data=constant("mended"))
    move = story.move(newer(step("stock", back=other), PAY))

    assert told(move) == ["stock <- Compensate 2"]
    assert asked(story) == [("stock", "mended")]
    story.hear(compensated("stock", attempt=2))
    assert story.saga.outcome is Outcome.COMPENSATED


def test_what_was_waited_for_may_be_something_else() -> None:
    story = Story.begin(saga(STOCK, waiting("paid", "stock"), PAY), id=7)
    story.hear(executed("stock"))
    story.park("nothing comes")
    parked(story)

    story.move(newer(STOCK, approving("paid", "stock"), PAY))

    assert story.saga.steps["paid"].waits is not None
    story.order(Action.APPROVE, "paid")
    assert story.at("paid") is StepPhase.DONE


def test_a_step_without_effect_may_go() -> None:
    story = Story.begin(saga(STOCK, waiting("paid", "stock"), PAY), id=7)
    story.hear(executed("stock"))
    story.park("nothing comes")
    parked(story)

    assert told(story.move(newer(STOCK, PAY))) == ["pay <- Execute 1"]


def each(name: str, *needs: str, elements: Json, **said: Any) -> Step:
    return replace(step(name, *needs, **said), each=Each(constant(elements), at_most=2))


def test_what_is_done_for_each_goes_on_for_each() -> None:
    """The elements keep their names, and those that are done stay done."""
    story = Story.begin(saga(each("pay", elements=["a", "b"]), step("mail", "pay")))
    story.hear(executed("pay.0"))
    story.park("by hand")
    parked(story)

    story.move(newer(each("pay", elements=["a", "b"], timeout_s=90), step("mail", "pay")))

    assert [step for step, _ in asked(story)] == ["pay.1"]
    assert told(story.hear(executed("pay.1"))) == ["mail <- Execute 1"]


def locked(key: Json = "x") -> Lock:
    return Lock(key=constant(key), busy=Busy.WAIT)


def with_lock() -> Story:
    story = Story.begin(replace(saga(STOCK, PAY, mail("idd")), lock=locked()))
    story.hear(LockGranted(gid=story.gid, lock="x"))
    story.hear(executed("stock"))
    story.hear(executed("pay", data={"id": "p-1"}))
    return parked(story)


def test_locks_are_kept_and_given_back() -> None:
    story = with_lock()
    story.move(newer(STOCK, PAY, mail(), lock=locked()))

    move = story.hear(executed("mail"))

    assert LockRelease(gid=story.gid, lock="x") in [send.message for send in move.sends]


# ── what is refused ──────────────────────────────────────────────────────────


def test_every_standing_has_its_rules() -> None:
    assert set(moving.RULES) == set(Standing)


def _hates_everything(value: Json) -> None:
    raise InputRefused(f"{value} is not it")


CHECK = step("check", "stock")
PAY_AFTER = step("pay", "check", pivot=True)

REFUSALS: list[tuple[str, Callable[[], Story], Saga, str]] = [
    ("older", mistaken, newer(STOCK, PAY, mail(), version=1), "no newer one"),
    ("another", mistaken, newer(STOCK, PAY, mail(), name="x"), "no version of the saga order"),
    (
        "input",
        mistaken,
        newer(STOCK, PAY, mail(), check_input=_hates_everything),
        "does not take its input: {} is not it",
    ),
    (
        "done is gone",
        mistaken,
        newer(step("pay", pivot=True), mail()),
        "stock is done; version 2 has no such step",
    ),
    (
        "done by another call",
        mistaken,
        newer(replace(STOCK, work=Call("stock", "take")), PAY, mail()),
        "stock is done; version 2 does `stock.take` there, and not `stock.dostock`",
    ),
    (
        "done loses its undo",
        mistaken,
        newer(step("stock", back=False), PAY, mail()),
        "stock is done; version 2 has no undo for it",
    ),
    (
        "done is undone otherwise",
        mistaken,
        newer(step("stock", data=constant("x")), PAY, mail()),
        "give it its own",
    ),
    (
        "passed pivot is none any more",
        mistaken,
        newer(STOCK, replace(PAY, pivot=False), replace(mail(), pivot=True)),
        "pay has begun, and is the pivot in one of both versions only",
    ),
    (
        "something before what is done",
        mistaken,
        newer(STOCK, CHECK, PAY_AFTER, mail()),
        "pay has begun, and in version 2 needs check, which is not done",
    ),
    (
        "another order of what is done",
        mistaken,
        newer(STOCK, step("pay", pivot=True), mail()),
        "pay has begun, and version 2 has another order between it and stock",
    ),
    (
        "refused once more",
        lambda: answered(Result.REFUSED),
        newer(STOCK, PAY, mail(timeout_s=9)),
        "give it another name in version 2",
    ),
    (
        "failed, at another participant",
        lambda: answered(Result.FAILED),
        newer(STOCK, PAY, replace(mail(), work=Call("post", "domail"))),
        "an old message may still reach `mail.domail`",
    ),
    ("failed and gone", lambda: answered(Result.FAILED), newer(STOCK, PAY), "has no such step"),
    (
        "unknown, with another `with`",
        silent,
        newer(STOCK, PAY, replace(mail(), data=constant("x"))),
        "nobody knows whether it is done; its `with` is another one in version 2",
    ),
    (
        "unknown, without a `with`",
        silent,
        newer(STOCK, PAY, mail("idd")),
        "its `with` is another one in version 2",
    ),
    (
        "unknown, by another call",
        silent,
        newer(STOCK, PAY, replace(mail(), work=Call("mail", "post"))),
        "version 2 does `mail.post` there",
    ),
    (
        "unknown, and not wanted",
        unknown,
        newer(step("stock", condition=constant(value=False)), PAY),
        "nobody knows whether it is done; version 2 would not ask for it again",
    ),
    (
        "unknown, and with a condition without a value",
        unknown,
        newer(step("stock", condition=look_up("input", "some")), PAY),
        "version 2 could not ask for it again: input.some has no value",
    ),
    (
        "unknown, and with a key without a value",
        unknown,
        newer(step("stock", key=look_up("input", "some")), PAY),
        "version 2 could not ask for it again: input.some has no value",
    ),
    (
        "unknown, and for each",
        unknown,
        newer(each("stock", elements=["a", "b"]), PAY),
        "nobody knows whether it is done; version 2 does it for each of a list",
    ),
    (
        "failed, and not wanted",
        lambda: answered(Result.FAILED),
        newer(STOCK, PAY, mail(condition=constant(value=False))),
        "mail was not done, as its participant says; version 2 would not ask for it again",
    ),
    (
        "done, and for each",
        mistaken,
        newer(each("stock", elements=["a", "b"]), PAY, mail()),
        "stock is done; version 2 does it for each of a list",
    ),
    (
        "undo failed, and has gone",
        stuck,
        newer(step("stock", back=False), PAY),
        "stock was not undone, as its participant says; version 2 has no undo for it",
    ),
    (
        "undo unknown, and another",
        lambda: stuck(Result.DONE),
        newer(step("stock", back=undo("stock", data=constant("x"))), PAY),
        "its undo is another one in version 2",
    ),
    ("with a lock", mistaken, newer(STOCK, PAY, mail(), lock=locked()), "needs a lock"),
    ("without its lock", with_lock, newer(STOCK, PAY, mail()), "has no lock"),
    (
        "with another lock",
        with_lock,
        newer(STOCK, PAY, mail(), lock=locked("y")),
        "needs other locks than x",
    ),
]


@pytest.mark.parametrize(
    ("make", "to", "said"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_what_would_not_be_sound_is_refused(make: Callable[[], Story], to: Saga, said: str) -> None:
    """The order is written down with the reason, and nothing else has changed."""
    story = make()
    before = story.saga

    move = story.move(to, to.version)

    assert said in refusal(story)
    assert (len(move.records), move.sends, story.saga.begun) == (1, (), before.begun)
    assert story.saga.phase is Phase.PARKED


def tried(confirm: str = "confirm") -> list[Step]:
    """Two steps, the first of which is to be confirmed."""
    again = replace(step("hold.confirm", "pay", "hold", back=False), confirms="hold")
    again = replace(again, work=Call("hold", confirm))
    return [step("hold"), step("pay", "hold", pivot=True, attempts=1), again]


@pytest.mark.parametrize(
    "to", [newer(*tried()[:2]), newer(*tried("other"))], ids=["not at all", "otherwise"]
)
def test_what_was_tried_is_confirmed_as_it_was_to_be(to: Saga) -> None:
    story = Story.begin(saga(*tried()))
    story.hear(executed("hold"))
    story.hear(executed("pay", Result.FAILED))
    parked(story)

    story.move(to)

    assert "hold was tried, and version 2 does not confirm it as before" in refusal(story)


@pytest.mark.parametrize(
    "step_", [each("pay", elements=["a", "c"]), step("pay")], ids=["others", "one"]
)
def test_the_elements_stay_the_same(step_: Step) -> None:
    story = Story.begin(saga(each("pay", elements=["a", "b"])))
    story.hear(executed("pay.0"))
    story.park("by hand")
    parked(story)

    story.move(newer(step_))

    assert "pay has begun for each of a list that version 2 does not have" in refusal(story)


def test_what_a_gate_says_is_no_work_of_a_step() -> None:
    """What has passed without an effect is not taken for something that was done."""
    story = Story.begin(saga(gate("all"), step("pay", "all", pivot=True)))
    story.hear(executed("pay", Result.FAILED))
    for attempt in (2, 3):
        story.sleep()
        story.hear(executed("pay", Result.FAILED, attempt))
    parked(story)

    story.move(newer(step("all"), step("pay", "all", pivot=True)))

    assert "all is over; version 2 does `all.doall` there" in refusal(story)


def test_what_is_not_parked_is_not_moved() -> None:
    story = Story.begin(saga(STOCK, PAY, mail()))

    story.move(newer(STOCK, PAY, mail()))

    assert refusal(story) == "only for what is parked"


def test_a_version_that_is_not_published_is_named() -> None:
    story = mistaken()

    story.move(None, 7)

    assert refusal(story) == "order version 7 is not published"
    story.order(Action.SKIP, "mail")
    assert story.saga.outcome is Outcome.COMMITTED


def test_atomic_transactions_are_not_moved() -> None:
    """Their branches are prepared, or have ended: no other text changes what they hold."""
    story = Story.begin(atomic("a", "b"))
    story.hear(voted("a", Vote.COMMIT))
    story.hear(voted("b", Vote.COMMIT))
    story.hear(settled("a", End.ROLLED_BACK))
    story.hear(settled("b", End.COMMITTED))
    story.publish()
    assert machine.summary(story.state).status == "parked"

    story.move(replace(atomic("a", "b"), version=2, hash="sha256:2"))

    assert "only sagas are moved" in refusal(story)
