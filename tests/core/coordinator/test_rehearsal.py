"""Definitions run against everything that can go wrong, and the judgement of how it ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings

from coordinator.core import machine, saga_state, saga_table, two_phase, two_phase_table
from coordinator.core.events import Kind
from coordinator.core.records import Closed, Decided, Decision, Outcome
from coordinator.core.saga_state import SagaState
from coordinator.core.transition import Rule, Transition
from coordinator.core.two_phase_state import Phase, TwoPhase
from coordinator.rehearsal import play
from coordinator.rehearsal.actors import PREPARED, READ, SEALED, STANDS
from coordinator.rehearsal.run import End, Verdict, judge, rehearse
from coordinator.rehearsal.sample import sample_input, sample_results
from sagas.loader import load
from sagas.model import AnyDefinition, OnUnknown, Saga
from tests.core.coordinator.builders import atomic, constant, saga, step
from tests.core.coordinator.test_histories import sagas

ROOT = Path(__file__).parents[3]
EXAMPLES = {
    **{file.name: file.read_text() for file in (ROOT / "sagas" / "examples").glob("*.yaml")},
    "README.md": re.findall(r"(?s)```yaml\n(saga: .*?)```", (ROOT / "README.md").read_text())[0],
}
LINE = saga(step("a"), step("b", "a"), step("p", "b", pivot=True), step("c", "p", back=False))


def ends(definition: AnyDefinition) -> dict[str, End]:
    """Rehearse, and return each end by its scenario."""
    return {end.scenario: end for end in rehearse(definition, {}, {})}


def short(end: End) -> tuple[str, str, str]:
    return end.outcome, " ".join(end.stands), " ".join(end.undone)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_no_example_ends_half_done(name: str) -> None:
    """And an input that is made up by its schema fits it."""
    definition = load(EXAMPLES[name], name)
    made = sample_input(definition)
    definition.check_input(made)
    found = rehearse(definition, made, sample_results(definition))

    assert found[0].outcome == "COMMITTED", found[0].reason
    assert {end.verdict for end in found} <= {Verdict.WHOLE, Verdict.WAITS}


def test_each_failure_of_a_saga_ends_as_the_language_says() -> None:
    """Before the pivot it goes back, at the pivot nobody guesses, after it a person is asked."""
    found = ends(LINE)

    assert short(found["nothing goes wrong"]) == ("COMMITTED", "a b p c", "")
    assert short(found["a is refused"]) == ("ABORTED", "", "")
    assert short(found["b is refused"]) == ("COMPENSATED", "", "a")
    assert short(found["b fails at first"]) == ("COMMITTED", "a b p c", "")
    assert short(found["b: it is done, and no answer comes"]) == ("COMPENSATED", "", "a b")
    assert short(found["b: it is not done, and no answer comes"]) == ("COMPENSATED", "", "a")
    assert short(found["b answers only after the deadline"]) == ("COMPENSATED", "", "a b")
    assert short(found["p answers only after the deadline"]) == ("PARKED", "a b p", "")
    assert short(found["p is refused"]) == ("COMPENSATED", "", "a b")
    assert short(found["p: it is done, and no answer comes"]) == ("PARKED", "a b p", "")
    assert short(found["p: it is not done, and no answer comes"]) == ("PARKED", "a b", "")
    assert short(found["c is refused"]) == ("PARKED", "a b p", "")
    assert short(found["the coordinator crashes after b"]) == ("COMMITTED", "a b p c", "")
    assert short(found["undoing a fails every time"]) == ("PARKED", "a", "b")
    assert short(found["undoing b is refused"]) == ("PARKED", "a b", "")
    assert short(found["the coordinator crashes after b is undone"]) == ("COMPENSATED", "", "a b")


@pytest.mark.parametrize("definition", [LINE, atomic("a", "b")], ids=["saga", "atomic"])
def test_each_crash_is_one_and_ends_as_if_there_were_none(
    definition: AnyDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between what is written and what is sent as well as after an answer."""
    recovered: list[int] = []

    def recover(gid: str, followed: AnyDefinition, log: Any) -> Any:
        recovered.append(len(log))
        return real(gid, followed, log)

    real = machine.recover
    monkeypatch.setattr(machine, "recover", recover)
    found = ends(definition)
    crashes = [end for name, end in found.items() if "crashes" in name]
    assert len(recovered) == len(crashes)
    assert {end.outcome for end in crashes} <= {"COMMITTED", "COMPENSATED"}
    for name in ("a", "b"):
        before, after = (
            found[f"the coordinator crashes {when}"]
            for when in (f"before it sends {name}", f"after {name}{_voted(definition)}")
        )
        assert short(before) == short(after) == short(found["nothing goes wrong"])


def _voted(definition: AnyDefinition) -> str:
    return "" if isinstance(definition, Saga) else " has voted"


def test_each_failure_of_an_atomic_transaction_leaves_all_or_nothing() -> None:
    """A silent branch is a no; what is decided is repeated until it is heard."""
    found = ends(atomic("a", "b"))

    assert short(found["a votes no"]) == ("ABORTED", "", "")
    assert short(found["a: it is prepared, and no vote comes"]) == ("ABORTED", "", "")
    assert short(found["a votes only after the deadline"]) == ("ABORTED", "", "")
    assert short(found["b only reads"]) == ("COMMITTED", "a", "")
    assert short(found["b does not hear the decision at first"]) == ("COMMITTED", "a b", "")
    assert short(found["the coordinator crashes after a has voted"]) == ("COMMITTED", "a b", "")
    assert {end.verdict for end in found.values()} == {Verdict.WHOLE}


def test_a_branch_that_is_alone_decides_for_itself() -> None:
    """In one phase: there is no second one to go wrong."""
    found = ends(atomic("a"))
    assert short(found["nothing goes wrong"]) == ("COMMITTED", "a", "")
    assert short(found["a votes only after the deadline"]) == ("COMMITTED", "a", "")
    assert not [name for name in found if "decision" in name]
    assert Verdict.HALF_DONE not in {end.verdict for end in found.values()}


def test_what_goes_on_for_longer_than_is_rehearsed_is_not_half_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its deadline, weeks away, will end it."""
    monkeypatch.setattr(play, "MOST_TURNS", 20)
    found = ends(LINE)["a is busy for ever"]
    assert (found.outcome, found.verdict) == ("goes on", Verdict.WAITS)


def test_what_is_skipped_need_not_stand() -> None:
    """The condition is the definition's own."""
    found = ends(saga(step("a"), step("b", "a", condition=constant(value=False))))
    assert short(found["nothing goes wrong"]) == ("COMMITTED", "a", "")
    assert found["nothing goes wrong"].verdict is Verdict.WHOLE
    assert not [name for name in found if "b" in name.replace(":", "").split()]


WAITING = """\
saga: offer
version: 1
deadline: 9d
input: {type: object, required: [id], properties: {id: {type: string}}}
steps:
  hold: {needs: [], call: stock.hold, undo: stock.free}
  consent: {needs: [], approve: {roles: [boss], timeout: 2d}}
  regret:
    needs: [hold, consent]
    wait: {topic: offers.kept, match: event.id == input.id, timeout: 3d, on_timeout: continue}
  keep: {if: "steps.regret != null", call: mail.keep, undo: {none: a mail}}
  sell: {if: "steps.regret == null", call: stock.sell, pivot: true}
"""


def offered() -> dict[str, End]:
    offer = load(WAITING, "offer.yaml")
    return {end.scenario: end for end in rehearse(offer, {"id": "i"}, {"regret": {}})}


def test_what_a_saga_waits_for_may_not_come() -> None:
    """Neither an event nor a person's yes; what it does then is rehearsed as well."""
    found = offered()
    told = {name: short(end) for name, end in found.items()}

    assert told["nothing goes wrong"] == ("COMMITTED", "hold keep", "")
    assert found["hold is busy for ever"].reason == "not done within its deadline of 9d"
    assert told["consent is refused by a person"] == ("COMPENSATED", "", "hold")
    assert told["consent: nobody decides"] == ("COMPENSATED", "", "hold")
    assert told["regret: its event comes too early"] == ("COMMITTED", "hold keep", "")
    assert told["regret: its event never comes"] == ("COMMITTED", "hold sell", "")
    assert told["regret: its event never comes, and sell is refused"] == ("COMPENSATED", "", "hold")
    assert told["the coordinator crashes as regret begins to wait"][0] == "COMMITTED"
    assert {end.verdict for end in found.values()} <= {Verdict.WHOLE, Verdict.WAITS}


def test_a_person_decides_also_where_the_coordinator_dies() -> None:
    """That a word is waited for is in the log, where people see it."""
    found = offered()
    crashes = {name: end for name, end in found.items() if name.startswith("the coordinator")}

    assert {end.outcome for name, end in crashes.items() if "undo" not in name} == {"COMMITTED"}


def test_a_saga_waits_for_a_part_that_is_parked() -> None:
    """That it goes on would be said of what nobody needs to see to."""
    steps = "  ship: {saga: shipping}\n  pay: {call: a.pay, pivot: true}\n"
    text = f"saga: order\nversion: 1\nsteps:\n{steps}"
    found = {end.scenario: end for end in rehearse(load(text, "order.yaml"), {}, {})}
    end = found["undoing ship is refused"]

    assert (end.outcome, end.verdict, end.stands) == ("waits", Verdict.WAITS, ("ship",))
    assert end.reason.startswith("ship is parked: ")


def test_what_comes_after_the_end_changes_nothing() -> None:
    """It is heard, and the end is as early as without it."""
    found = ends(LINE)
    late = found["b answers only after the deadline"]
    lost = found["b: it is done, and no answer comes"]
    assert replace(late, scenario=lost.scenario) == lost


def test_what_comes_after_the_end_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that took it for news would change the end."""

    def believes(txn: SagaState, _event: Any, now_us: int) -> Any:
        return Transition(txn).remember(Closed(outcome=Outcome.COMMITTED), now_us)

    rule = Rule(believes, "planted")
    key = (saga_state.Phase.ENDED, Kind.STEP_DONE)
    monkeypatch.setitem(cast("Any", saga_table.RULES), key, rule)
    assert ends(LINE)["b answers only after the deadline"].verdict is Verdict.HALF_DONE


@pytest.mark.parametrize(
    "last",
    [
        "{call: x.b, undo: x.ub, on_unknown: park}",
        "{call: x.b, undo: x.ub, on_unknown: park, on_refused: continue}",
        "{on_refused: continue, atomic: {branches: {l: {call: y.l, undo: y.ul}}}}",
    ],
)
def test_an_undo_is_asked_for_whatever_the_last_step_says(last: str) -> None:
    """Its silence may park the saga, and its no may not turn it."""
    text = f"saga: t\nversion: 1\nsteps:\n  a: {{call: x.a, undo: x.ua}}\n  b: {last}\n"
    found = {end.scenario: end for end in rehearse(load(text, "t.yaml"), {}, {})}
    for name in ("a", "b"):
        end = found.get(f"undoing {name} is refused")
        if end is not None:
            assert end.reason.startswith(f"{name} could not be undone: refused")
    assert found["undoing a is refused"].stands == ("a",)


@given(definition=sagas())
@settings(max_examples=60, deadline=None)
def test_a_scenario_of_an_undo_comes_to_that_undo(definition: Saga) -> None:
    """Whatever the graph, and whatever is skipped; it would prove nothing otherwise."""
    found = ends(definition)
    for name, one in definition.steps.items():
        end = found.get(f"undoing {name} is refused")
        if end is not None:
            assert end.reason.startswith(f"{name} could not be undone: refused")
            assert name in end.stands or one.on_unknown is OnUnknown.PARK


@given(definition=sagas())
@settings(max_examples=60, deadline=None)
def test_no_saga_that_the_language_allows_ends_half_done(definition: Saga) -> None:
    """Whatever graph and pivot it has."""
    assert [e for e in rehearse(definition, {}, {}) if e.verdict is Verdict.HALF_DONE] == []


@pytest.mark.parametrize(
    ("outcome", "stands"),
    [
        (Outcome.COMMITTED, ["a", "b", "p"]),
        (Outcome.COMMITTED, []),
        (Outcome.COMPENSATED, ["a"]),
        (Outcome.ABORTED, ["p"]),
        (None, ["a", "b", "p", "c"]),
        (Outcome.HEURISTIC_MIXED, []),
    ],
)
def test_an_end_that_is_half_done_is_called_so(outcome: Outcome | None, stands: list[str]) -> None:
    """No rule of the core leads there; the judge would see it."""
    marks = dict.fromkeys(stands, STANDS)
    assert judge(LINE, outcome, ["a", "b", "p", "c"], marks) is Verdict.HALF_DONE


def test_a_step_that_was_skipped_and_stands_is_half_done() -> None:
    """What the coordinator says it skipped is not taken on its word."""
    marks = dict.fromkeys(["a", "b", "p", "c"], STANDS)
    assert judge(LINE, Outcome.COMMITTED, ["a", "b", "p"], marks) is Verdict.HALF_DONE


@pytest.mark.parametrize(
    ("outcome", "marks", "verdict"),
    [
        (Outcome.COMMITTED, {"a": STANDS, "b": STANDS}, Verdict.WHOLE),
        (Outcome.COMMITTED, {"a": STANDS, "b": READ}, Verdict.WHOLE),
        (Outcome.COMMITTED, {"a": STANDS}, Verdict.HALF_DONE),
        (Outcome.COMMITTED, {"a": STANDS, "b": SEALED}, Verdict.HALF_DONE),
        (Outcome.COMMITTED, {"a": STANDS, "b": PREPARED}, Verdict.HALF_DONE),
        (Outcome.ABORTED, {"a": SEALED}, Verdict.WHOLE),
        (Outcome.ABORTED, {"a": STANDS, "b": SEALED}, Verdict.HALF_DONE),
        (Outcome.ABORTED, {"a": PREPARED, "b": SEALED}, Verdict.HALF_DONE),
    ],
)
def test_half_an_atomic_transaction_is_half_done(
    outcome: Outcome, marks: dict[str, str], verdict: Verdict
) -> None:
    """And so is one of which something stays prepared for ever."""
    assert judge(atomic("a", "b"), outcome, ["a", "b"], marks) is verdict


def commits(txn: TwoPhase, _event: Any, now_us: int) -> Any:
    """Decide to commit, whatever was voted."""
    return two_phase.decide(Transition(txn), Decision.COMMIT, "", now_us)


def tells_nobody(txn: TwoPhase, _event: Any, now_us: int) -> Any:
    """Decide to abort, and let no branch know."""
    return Transition(txn).remember(Decided(decision=Decision.ABORT, awaited=()), now_us)


@pytest.mark.parametrize(
    ("kind", "wrong", "scenario"),
    [
        (Kind.DEADLINE_PASSED, commits, "a: it is not prepared, and no vote comes"),
        (Kind.VOTED_ABORT, commits, "a votes no"),
        (Kind.DEADLINE_PASSED, tells_nobody, "a: it is prepared, and no vote comes"),
        (Kind.VOTED_ABORT, tells_nobody, "b votes no"),
    ],
)
def test_a_rule_that_breaks_atomicity_is_seen(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, wrong: Any, scenario: str
) -> None:
    """The participants know what they have prepared, and commit nothing else."""
    rule = Rule(wrong, "planted")
    monkeypatch.setitem(cast("Any", two_phase_table.RULES), (Phase.PREPARING, kind), rule)

    found = ends(atomic("a", "b"))
    assert found[scenario].verdict is Verdict.HALF_DONE
    assert found["nothing goes wrong"].verdict is Verdict.WHOLE


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ("{type: object, required: [id]}", {"id": "id"}),
        ("{properties: {n: {type: integer, minimum: 3}}}", {"n": 3}),
        ("{properties: {n: {type: number, exclusiveMinimum: 0}}}", {"n": 1}),
        ("{properties: {n: {type: integer, maximum: 0}}}", {"n": 0}),
        ("{properties: {c: {enum: [EUR, USD]}, k: {const: 7}}}", {"c": "EUR", "k": 7}),
        ("{properties: {t: {type: string, minLength: 3}}}", {"t": "txx"}),
        ("{properties: {l: {type: array, items: {type: boolean}}}}", {"l": [True]}),
        ("{properties: {o: {type: object, required: [x]}}}", {"o": {"x": "x"}}),
        ("{properties: {m: {type: [string, 'null'], default: hey}}}", {"m": "hey"}),
    ],
)
def test_an_input_is_made_up_that_fits(schema: str, made: Any) -> None:
    """As far as schemas of inputs usually go."""
    definition = load(
        f"saga: s\nversion: 1\ninput: {schema}\nsteps: {{a: {{call: p.do, undo: p.undo}}}}\n", "s"
    )
    assert sample_input(definition) == made
    definition.check_input(made)


def test_results_have_the_fields_that_are_named() -> None:
    """Those that expressions ask for, as deep as they ask."""
    text = """\
saga: s
version: 1
steps:
  a: {call: p.do, undo: p.undo}
  b: {call: p.do, undo: p.undo, with: {x: "${ steps.a.id }", y: "${ steps.a.at.place }"}}
output: "${ steps.b }"
"""
    assert sample_results(load(text, "s")) == {
        "a": {"at": {"place": "place"}, "id": "id"},
        "b": "b",
    }
