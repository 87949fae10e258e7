"""What somebody writes who knows another engine: each error says what to write instead."""
# ruff: noqa: E501  # a line each is easier to compare

from __future__ import annotations

import pytest

from sagas.loader import DefinitionInvalid, load, load_published

HEAD = "saga: visit\nversion: 1\n"
BOOK = "steps:\n  book: {call: seats.book, undo: seats.free"
PAY = f"{HEAD}{BOOK}}}\n  pay: {{call: money.take, undo: money.give, "
START = f"{HEAD}start: {{topic: a, "


def told(text: str) -> str:
    """Return what is said of a definition."""
    with pytest.raises(DefinitionInvalid) as caught:
        load(text, "x.yaml")
    return str(caught.value)


WRITTEN = [
    # the wrong shape
    (f"{HEAD}steps:\n  - {{name: book, call: seats.book}}\n", "each step by its name, without a hyphen"),
    (f"{HEAD}steps:\n  call: seats.book\n  undo: seats.free\n", "steps have names: `name: {call: …}`"),
    (f"{HEAD}steps:\n  book:\n  call: seats.book\n", "indent what belongs to it below it"),
    (f"{HEAD}steps:\n", "`steps` is empty"),
    ("saga: visit\nversion: v1\n" + BOOK + "}", "a whole number: `1`"),
    ("saga: {name: visit, version: 1}\n" + BOOK + "}", "its name alone"),
    (f"{HEAD}deadline: 30\n{BOOK}}}", "200ms, 5s, 2m"),
    (f"{HEAD}start: orders.placed\n{BOOK}}}", "`{topic: …, key: …}`"),
    (f"{HEAD}{BOOK}, retry: 3}}", "`{attempts: 5, first: 1s, max: 1m}`"),
    (f"{HEAD}{BOOK}, pivot: yes}}", "`true` or `false`"),
    (f"{HEAD}{BOOK}, needs: pay}}", "a list, also of one"),
    (f"{HEAD}steps: {{book: {{call: seats.book, undo: true}}}}", 'or `{none: "why it may stand"}`'),
    (f"{HEAD}steps: {{book: {{call: {{participant: seats}}, undo: a.b}}}}", "one text: `participant.command`"),
    (f"{HEAD}input: [guest]\n{BOOK}}}", "a JSON Schema: "),
    (f"{HEAD}input: {{guest: string}}\n{BOOK}}}", "fields stand below `properties`"),
    (f"{HEAD}input: {{requird: [guest]}}\n{BOOK}}}", "did you mean `required`?"),
    # other words
    (f"{HEAD}steps: {{book: {{call: seats.book, compensate: seats.free}}}}", "here it is called `undo`"),
    (f"{PAY}depends_on: [book]}}", "here it is called `needs`"),
    (f"{HEAD}{BOOK}, retry: {{backoff: 2s}}}}", "here it is called `first`"),
    (f"{HEAD}topic: orders.placed\n{BOOK}}}", "it belongs into `start`"),
    (f"{HEAD}{BOOK}, attempts: 3}}", "it belongs into `retry`"),
    (f"{HEAD}branches: {{book: {{call: seats.book}}}}", "a saga has `steps`"),
    ("atomic: swap\nversion: 1\nsteps: {a: {call: b.c}}", "an atomic transaction has `branches`"),
    ("atomic: swap\nversion: 1\nbranches: {a: {call: b.c, undo: b.d}}", "a branch needs none"),
    # other expressions
    (f"{HEAD}{BOOK}, with: {{guest: input.guest}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}, with: {{guest: '{{{{ input.guest }}}}'}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}, with: {{guest: $(input.guest)}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}}}\noutput: steps.book.number", 'write "${ steps.book.number }"'),
    (f"{HEAD}{BOOK}, with: {{guest: ${{ input.guest }}}}}}", "quote what holds `${ … }`"),
    (f"{HEAD}{BOOK}, with: {{text: Hello: you}}}}", "quote a text that holds a colon"),
    (f"{HEAD}steps\n  book: {{call: seats.book}}\n", "does a word above lack its colon?"),
    (f"{START}when: '${{ event.n > 0 }}'}}\n{BOOK}}}", "write it without `${ … }`"),
    (f"{START}when: input.n > 0}}\n{BOOK}}}", "is called `event` here"),
    (f"{START}when: event.n = 0}}\n{BOOK}}}", "equality is `==`"),
    (f"{START}when: event.n > 0 and event.m > 0}}\n{BOOK}}}", "write `&&`, `||`, `!`"),
    (f"{HEAD}{BOOK}, with: {{guest: '${{ event.guest }}'}}}}", "is called `input` here"),
    (f"{PAY}with: {{seat: '${{ book.number }}'}}}}", "write `steps.book`"),
    (f"{HEAD}{BOOK}, with: {{n: '${{ 1 if input.a else 2 }}'}}}}", "write `condition ? this : that`"),
    (f"{HEAD}{BOOK}, if: input.note is null}}", "write `== null`"),
    (f"{HEAD}{BOOK}, if: input.at > now()}}", "expressions know no clock"),
    (f"{HEAD}{BOOK}, if: input.counts.sum() > 1}}", "there is no function `sum`"),
    (f"{HEAD}{BOOK}, timeout: 9d}}", "the deadline is 1h where none is given"),
    (f"{HEAD}deadline: 90m\n{BOOK}, timeout: 9d}}", "is 1h 30m, and the timeouts on the longest path are 9d"),
    (f"{HEAD}{BOOK}, retry: {{budget: 5s}}}}", "the budget of 5s for all attempts is shorter than the timeout of one, 30s"),
    (f"{HEAD}{BOOK}, if: input.n in [1, 2]}}", "quote a text that holds `[`"),
    (f"{HEAD}{BOOK}, if: len(input.names) > 0}}", "in CEL it is `size(…)`"),
    (f"{HEAD}{BOOK}, if: \"input.name.startswith('a')\"}}", "….startsWith(…)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "hint"), WRITTEN, ids=range(len(WRITTEN)))
def test_an_error_says_what_to_write_instead(text: str, hint: str) -> None:
    """So that it can be mended without the manual."""
    assert hint in told(text)


def test_what_was_published_before_a_rule_is_still_read() -> None:
    """A text that only looks like an expression was sent as it stands, and still is."""
    text = f"{HEAD}input: {{guest: string}}\n{BOOK}, with: {{guest: input.guest}}}}"
    assert "not-evaluated" in told(text)
    load_published(text, "x.yaml")
