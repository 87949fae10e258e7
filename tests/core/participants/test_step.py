"""The table of a step, against what a step may ever do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from participants.step import RULES, Asked, Do, Entry, Reply, Status, absorb, settle
from wire.messages import Result


def test_every_pair_is_there() -> None:
    assert RULES.keys() == set(product(Status, Asked))


def test_a_handler_runs_only_where_it_must() -> None:
    runs = {pair: rule.do for pair, rule in RULES.items() if rule.do in {Do.RUN, Do.UNDO}}
    assert runs == {
        (Status.FRESH, Asked.EXECUTE): Do.RUN,
        (Status.DONE, Asked.COMPENSATE): Do.UNDO,
    }


def test_what_was_sealed_or_undone_is_refused_and_not_said_to_be_done() -> None:
    for status in (Status.SEALED, Status.UNDONE, Status.REFUSED):
        settled = settle(Entry(status), Asked.EXECUTE)
        assert settled is not None
        assert settled[1].result is Result.REFUSED
        assert settled[1].reason


def test_a_kept_answer_is_told_whole() -> None:
    entry = Entry(Status.DONE, {"left": 3})
    assert settle(entry, Asked.EXECUTE) == (entry, Reply(Result.DONE, {"left": 3}))
    refused = Entry(Status.REFUSED, reason="sold out")
    assert settle(refused, Asked.EXECUTE) == (
        refused,
        Reply(Result.REFUSED, reason="sold out"),
    )


def test_effects_and_undos_add_up_whatever_is_asked() -> None:
    """At most one effect, at most one undo and only of an effect, none after an undo was told."""
    commands = list(product(Asked, Result))
    for length in range(6):
        for history in product(commands, repeat=length):
            _tell(history)


def _tell(history: Sequence[tuple[Asked, Result]]) -> None:
    entry, effects, undos, closed = Entry(), 0, 0, False
    for asked, outcome in history:
        settled = settle(entry, asked)
        if settled is None:
            assert not closed, "a handler ran after the undo was acknowledged"
            reply = Reply(outcome, undone=asked is Asked.COMPENSATE)
            entry = absorb(entry, asked, reply)
            effects += asked is Asked.EXECUTE and outcome is Result.DONE
            undos += asked is Asked.COMPENSATE and outcome is Result.DONE
        else:
            entry, reply = settled
        if asked is Asked.EXECUTE and reply.result is Result.DONE:
            assert (effects, undos) == (1, 0)
        if asked is Asked.COMPENSATE and reply.result is Result.DONE:
            assert reply.undone == (effects == 1)
            closed = True
        assert effects <= 1
        assert undos <= effects
    assert not closed or effects == undos
