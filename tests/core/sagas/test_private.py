"""What is sensitive is found by its place, and then anywhere by its looks."""

from __future__ import annotations

from typing import Any

import pytest

from sagas.loader import DefinitionInvalid, load
from sagas.model import AnyDefinition, InputRefused
from sagas.private import HIDDEN, Private, Veil

CARD = "4111111111111111"


def with_input(schema: str, rest: str = "") -> AnyDefinition:
    """Load a definition with this schema."""
    text = f"saga: pay\nversion: 1\ninput: {schema}\n{rest}\nsteps:\n"
    return load(f"{text}  take: {{call: money.take, undo: money.give}}\n", "test")


def private(schema: str) -> Private:
    found = with_input(schema).private
    assert found is not None
    return found


PLACES = [
    ("{properties: {card: {sensitive: true}}}", {"card": CARD, "n": 1}, {"card": HIDDEN, "n": 1}),
    ("{sensitive: true}", {"card": CARD}, HIDDEN),
    (
        "{properties: {cards: {items: {properties: {no: {sensitive: true}}}}}}",
        {"cards": [{"no": CARD}, {"no": 7, "name": "x"}, 3]},
        {"cards": [{"no": HIDDEN}, {"no": HIDDEN, "name": "x"}, 3]},
    ),
    (
        "{$defs: {secret: {sensitive: true}}, properties: {a: {$ref: '#/$defs/secret'}}}",
        {"a": {"b": CARD}},
        {"a": HIDDEN},
    ),
    (
        "{anyOf: [{properties: {a: {sensitive: true}}}, {properties: {b: {sensitive: true}}}]}",
        {"a": 1, "b": 2, "c": 3},
        {"a": HIDDEN, "b": HIDDEN, "c": 3},
    ),
    (
        "{properties: {a: {}}, additionalProperties: {sensitive: true}}",
        {"a": 1, "other": CARD},
        {"a": 1, "other": HIDDEN},
    ),
    ("{patternProperties: {'^p': {sensitive: true}}}", {"pin": 1, "x": 2}, {"pin": HIDDEN, "x": 2}),
    ("{prefixItems: [{}, {sensitive: true}]}", [1, 2, 3], [1, HIDDEN, 3]),
]


@pytest.mark.parametrize(("schema", "given", "shown"), PLACES)
def test_it_is_hidden_where_the_schema_says(schema: str, given: Any, shown: Any) -> None:
    """Whichever way the schema comes to speak of that place."""
    assert private(schema).shown(given) == shown


def test_it_is_found_wherever_it_has_got_to() -> None:
    """Inside a text, as a number, as a key; the longest first."""
    veil = Veil([{"card": CARD, "name": "Ann Lee"}, [CARD[:4]], 4711, True, None, "no"])

    said = veil.text(f"{CARD} of Ann Lee ({CARD[:4]}) is no card")
    assert said == f"{HIDDEN} of {HIDDEN} ({HIDDEN}) is no card"
    assert veil.json({CARD: [4711, 4712, True, None]}) == {HIDDEN: [HIDDEN, 4712, True, None]}


def test_a_refused_input_is_told_without_its_values() -> None:
    """Also where a value stands in a place that the schema does not know."""
    strict = "{type: object, required: [id], properties: {card: {pattern: '^x', sensitive: true}}}"
    check = with_input(strict).check_input
    for given in ({"id": 1, "card": CARD}, [CARD], {"crd": CARD}):
        with pytest.raises(InputRefused) as refused:
            check(given)
        assert CARD not in str(refused.value)
    with pytest.raises(InputRefused, match=r"input\.card: it does not fit `pattern`"):
        check({"id": 1, "card": CARD})
    with pytest.raises(InputRefused, match="'id' is a required property"):
        check({})


def test_a_result_may_be_sensitive_too() -> None:
    """Of a step, or a branch."""
    saga = "saga: a\nversion: 1\nsteps:\n  b: {call: c.d, undo: c.e, sensitive: true}\n"
    atomic = "atomic: a\nversion: 1\nbranches:\n  b: {call: c.d, sensitive: true}\n"
    for text in (saga, atomic):
        found = load(text, "test").private
        assert found is not None
        assert found.parts == ["b"]
        assert found.veil({}, {"b": {"token": CARD}}).text(f"<{CARD}>") == f"<{HIDDEN}>"


def test_nothing_is_private_unless_it_is_said() -> None:
    assert with_input("{properties: {card: {sensitive: false}}}").private is None


@pytest.mark.parametrize("key", ["event.card", "event.card + '-1'", "'a' + event.card"])
def test_a_start_key_is_shown_everywhere(key: str) -> None:
    """So it must not be what is hidden."""
    with pytest.raises(DefinitionInvalid, match="sensitive-key"):
        with_input("{properties: {card: {sensitive: true}}}", f'start: {{topic: t, key: "{key}"}}')
    with_input("{properties: {card: {sensitive: true}}}", "start: {topic: t, key: event.card_id}")


def test_the_name_of_a_lock_is_shown_to_whoever_asks_who_has_it() -> None:
    schema, lock = "{properties: {card: {sensitive: true}}}", 'lock: {key: "c:${ input.card }"}'
    with pytest.raises(DefinitionInvalid, match="sensitive-key"):
        with_input(schema, lock)
    with pytest.raises(DefinitionInvalid, match="sensitive-key"):
        with_input(schema, lock.replace('"c:${ input.card }"', '[x, "c:${ input.card }"]'))
    with_input(schema, lock.replace("input.card", "input.card_id"))
