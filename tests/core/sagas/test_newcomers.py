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
    (f"{HEAD}deadline: 30\n{BOOK}}}", "200ms, 5s, 2m, 1h, 30d\n 3 | deadline: 30\n   |           ^ write `30s`"),
    (f"{HEAD}deadline: 5 minutes\n{BOOK}}}", "write `5m`"),
    (f"{HEAD}deadline: 1h30m\n{BOOK}}}", "write `90m`"),
    (f"{HEAD}deadline: 1h 30min\n{BOOK}}}", "write `90m`"),
    (f"{HEAD}deadline: 1.5h\n{BOOK}}}", "write `90m`"),
    (f"{HEAD}deadline: 1w\n{BOOK}}}", "write `7d`"),
    (f"{HEAD}{BOOK}, retry: {{first: 1 Second}}}}", "write `1s`"),
    (f"{HEAD}start: orders.placed\n{BOOK}}}", "`{topic: …, key: …}`"),
    (f"{HEAD}{BOOK}, retry: 3}}", "`{attempts: 5, first: 1s, max: 1m}`"),
    (f"{HEAD}{BOOK}, pivot: yes}}", "`true` or `false`"),
    (f"{HEAD}{BOOK}, needs: pay}}", "a list, also of one"),
    (f"{HEAD}steps: {{book: {{call: seats.book, undo: true}}}}", 'or `{none: "why it may stand"}`'),
    (f"{HEAD}steps: {{book: {{call: {{participant: seats}}, undo: a.b}}}}", "one text: `participant.command`"),
    (f"{HEAD}input: [guest]\n{BOOK}}}", "a JSON Schema: "),
    (f"{HEAD}input: {{guest: string}}\n{BOOK}}}", "fields stand below `properties`"),
    (f"{HEAD}input: {{requird: [guest]}}\n{BOOK}}}", "did you mean `required`?"),
    (f"{HEAD}{BOOK}, retry: {{attempts: 0}}}}", "`attempts` is `0`: it is 1 at least"),
    (f"{HEAD}steps: {{book: {{each: input.l, at_most: 5000, call: a.b, undo: a.c}}}}", "`at_most` is `5000`: it is 1000 at most"),
    (f"{HEAD}deadline: 999999999d\n{BOOK}}}", "it is 36500d at most"),
    (f"{HEAD}deadline: 0s\n{BOOK}}}", "write more than that"),
    (f"{HEAD}{BOOK}, on_refused: skip}}", "it takes `compensate` or `continue`"),
    (f"{HEAD}{BOOK}, needs: [1]}}", "`needs` holds `1`: each of it is a text"),
    (f"{HEAD}lock: {{key: []}}\n{BOOK}}}", "x.yaml:3:13: error[shape]: `key` is empty"),
    (f"{HEAD}index: id\n{BOOK}}}", "a list, also of one: `[order_id]`"),
    (f"{HEAD}index: [a, b, c, d, e, f, g, h, i]\n{BOOK}}}", "`index` holds 9: 8 at most"),
    (f"{HEAD}steps: {{book: {{atomic: [a.b]}}}}", "`{branches: {…}}`"),
    (f"{HEAD}steps: {{book: {{each: [1], call: a.b, undo: a.c}}}}", "an expression that gives a list"),
    (f"{HEAD}{BOOK}, retry: {{attempts: 010}}}}", "leave the zero out, or quote it"),
    (f"{HEAD}{BOOK}, retry: {{first: 5m}}}}", "none is longer than 1m where no `max` is given"),
    (f"{HEAD}input: {{type: str}}\n{BOOK}}}", "did you mean `string`?"),
    (f"{HEAD}input: {{properties: {{id: string}}}}\n{BOOK}}}", "write `{type: string}`"),
    (f"{HEAD}input: {{properties: {{id: {{required: true}}}}}}\n{BOOK}}}", "it stands beside `properties`"),
    (f"{HEAD}input: {{fields: {{id: {{}}}}}}\n{BOOK}}}", "fields stand below `properties`"),
    # the wrong place
    (f"{HEAD}steps:\nbook: {{call: seats.book}}\n", "indent it below `steps`"),
    (f"{HEAD}steps:\n  book:\n    call: a.b\n    undo: a.c\n    pay: {{call: b.c}}\n", "indent it no further than `book`"),
    (f"{HEAD}pivot: book\n{BOOK}}}", "it belongs into a step"),
    (f"{HEAD}steps:\n  book:\n    call: a.b\n   undo: a.c\n", "this line is indented like none above it"),
    (f"{HEAD}steps:\n  book:\n    call: a.b\n      undo: a.c\n", "align it with the line above"),
    (f"{HEAD}steps:\n  book:\n    call:a.b\n    undo: a.c\n", "the colon needs a space after it"),
    (f"{HEAD}steps:\n  book: {{call: a.b, undo: a.c\n  pay: {{call: b.c}}\n", "is what begins in line 4 closed?"),
    (f'{HEAD}steps:\n  book: {{call: "a.b, undo: a.c}}\n', "x.yaml:4:16: error[yaml]: this quote has no end"),
    (f"{HEAD}steps:\n  book:\u00a0{{call: a.b, undo: a.c}}\n", "has a no-break space"),
    (f"{HEAD}steps:\n\u00a0\u00a0book: {{call: a.b}}\n", "U+00A0 looks like a space"),
    (f"{HEAD}start: {{key: event.id}}\n{BOOK}}}", "`topic` is missing: no event is asked for its `key`"),
    (f"{HEAD}input: {{type: array}}\n{BOOK}}}", "the input is always an object"),
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
    (f"{HEAD}lock: {{key: input.guest}}\n{BOOK}}}", "would be the same lock for all"),
    (f"{HEAD}{BOOK}, with: {{guest: $input.guest}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}, with: {{guest: '$.input.guest'}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}, with: {{guest: '$ {{ input.guest }}'}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}, with: {{to: 'for {{input.guest}}'}}}}", 'write "${ input.guest }"'),
    (f"{HEAD}{BOOK}, with: {{sum: input.n * 2}}}}", 'write "${ input.n * 2 }"'),
    (f"{HEAD}{BOOK}, with: {{sku: 'input.items[0].sku'}}}}", 'write "${ input.items[0].sku }"'),
    (f"{HEAD}{BOOK}, with: {{guest: '${{{{ input.guest }}}}'}}}}", "with one brace"),
    (f"{HEAD}{BOOK}, with: {{gid: '${{ txn.id }}'}}}}", "it has gid, key, definition, version"),
    (f"{HEAD}{BOOK}, with: {{id: '${{ input.order-id }}'}}}}", '`input["order-id"]`'),
    (f"{HEAD}{BOOK}, with: {{id: '${{ input.id ?? 1 }}'}}}}", "write `has(input.note) ? "),
    (f"{HEAD}{BOOK}, with: {{id: '${{ each.id }}'}}}}", "only a step with `each` knows it"),
    (f"{HEAD}{BOOK}, with: {{id: '${{ steps.pay.id }}'}}}}\n  pay: {{call: b.c, undo: b.d}}", "`pay` comes after `book`: change their order"),
    (f"{HEAD}{BOOK}, if: !input.gift}}", '"!input.gift"'),
    (f"{HEAD}{BOOK}, if: not input.gift}}", "write `!`"),
    (f"{HEAD}start: {{every: * * * * *}}\n{BOOK}}}", "quote a text that begins with `*`"),
    (f'{HEAD}steps:\n  book:\n    if: "input.a" == "b"\n    call: a.b', "quote all of the text"),
    (f"{HEAD}input: {{required: [gest], properties: {{guest: {{}}}}}}\n{BOOK}}}", "did you mean `guest`?"),
    (f"{HEAD}index: [input.guest]\n{BOOK}}}", "write it without `input.`"),
    (f"{HEAD}index: [gest]\ninput: {{properties: {{guest: {{}}}}}}\n{BOOK}}}", "did you mean `guest`?"),
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


FINE = [
    "lock: {key: nightly}",
    "lock: {key: ['a', 'b:${ input.guest }']}",
    'output: {zip: "01234", n: 0, half: 0.5}',
    'output: {note: "see input.md for that", sign: "$5 and {x}", mail: "${ {\'a\': input.guest} }"}',
    'output: {gid: "${ txn.gid } of ${ txn.definition }"}',
    "start: {every: 1h}",
    "input: {type: [object, 'null']}",
    "index: [guest, card.number]\ninput: {properties: {guest: {}, card: {}}}",
]


def test_a_long_line_is_shown_where_the_mistake_is() -> None:
    """And nothing that a terminal would obey, or that cannot be seen."""
    text = (
        f"{HEAD}{BOOK}, with: {{note: '{'x' * 300}\N{RIGHT-TO-LEFT OVERRIDE}', to: input.guest}}}}"
    )
    _, line, caret = told(text).splitlines()
    assert len(line) < 180
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in line
    assert line[caret.index("^") :].startswith("input.guest")


@pytest.mark.parametrize("text", FINE)
def test_what_only_resembles_a_mistake_is_none(text: str) -> None:
    """Nobody should have to write around a check."""
    load(f"{HEAD}{BOOK}}}\n{text}\n", "x.yaml")


def test_a_number_that_was_published_with_a_zero_before_it_is_still_read() -> None:
    """It was that number, and is."""
    load_published(f"saga: visit\nversion: 007\n{BOOK}}}", "x.yaml")


def test_what_was_published_before_a_rule_is_still_read() -> None:
    """A text that only looks like an expression was sent as it stands, and still is."""
    text = f"{HEAD}input: {{guest: string}}\n{BOOK}, with: {{guest: input.guest}}}}"
    assert "not-evaluated" in told(text)
    load_published(text, "x.yaml")
