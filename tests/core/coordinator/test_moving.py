"""Moving a parked saga to a newer version: what goes on by it."""

from __future__ import annotations

from dataclasses import replace

from coordinator.core.records import Moved, Outcome
from coordinator.core.saga_state import Phase, StepPhase
from sagas.model import Call
from tests.core.coordinator.builders import (
    Story,
    approving,
    compensated,
    constant,
    executed,
    saga,
    step,
    told,
    undo,
    waiting,
)
from tests.core.coordinator.moves import (
    PAY,
    STOCK,
    answered,
    asked,
    each,
    locked,
    mail,
    mistaken,
    newer,
    parked,
    silent,
    stuck,
    with_lock,
)
from wire.messages import Action, LockRelease, Result
from wire.messages import Outcome as Told


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


def test_what_is_done_for_each_goes_on_for_each() -> None:
    """The elements keep their names, and those that are done stay done."""
    story = Story.begin(saga(each("pay", elements=["a", "b"]), step("mail", "pay")))
    story.hear(executed("pay.0"))
    story.park("by hand")
    parked(story)

    story.move(newer(each("pay", elements=["a", "b"], timeout_s=90), step("mail", "pay")))

    assert [step for step, _ in asked(story)] == ["pay.1"]
    assert told(story.hear(executed("pay.1"))) == ["mail <- Execute 1"]


def test_locks_are_kept_and_given_back() -> None:
    story = with_lock()
    story.move(newer(STOCK, PAY, mail(), lock=locked()))

    move = story.hear(executed("mail"))

    assert LockRelease(gid=story.gid, lock="x") in [send.message for send in move.sends]
