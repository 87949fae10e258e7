"""Moving a parked saga to a newer version: what must not go on by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from coordinator.core import machine, moving
from coordinator.core.moving import Standing
from coordinator.core.records import Outcome
from coordinator.core.saga_state import Phase
from sagas.model import Call, InputRefused, Json, Saga, Step
from tests.core.coordinator.builders import (
    Story,
    atomic,
    constant,
    executed,
    gate,
    look_up,
    saga,
    settled,
    step,
    undo,
    voted,
)
from tests.core.coordinator.moves import (
    PAY,
    STOCK,
    answered,
    each,
    locked,
    mail,
    mistaken,
    newer,
    parked,
    refusal,
    silent,
    stuck,
    unknown,
    with_lock,
)
from wire.messages import Action, End, Result, Vote


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
