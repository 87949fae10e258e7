"""What to write instead: for words of other languages, and for values of the wrong kind.

Whoever writes a first definition comes from somewhere: another engine's
words, another language's signs. What he meant is mostly clear.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from sagas.problems import did_you_mean

_CALLED: Final = {
    "action": "call",
    "after": "needs",
    "args": "with",
    "backoff": "first",
    "command": "call",
    "compensate": "undo",
    "compensation": "undo",
    "condition": "if",
    "data": "with",
    "delay": "first",
    "depends_on": "needs",
    "event": "start",
    "input": "with",
    "max_attempts": "attempts",
    "needs_undo": "undo",
    "on_failure": "on_unknown",
    "on_timeout": "on_unknown",
    "params": "with",
    "participants": "branches",
    "payload": "with",
    "requires": "needs",
    "retries": "retry",
    "rollback": "undo",
    "schema": "input",
    "trigger": "start",
    "when": "if",
}
"""What is called otherwise elsewhere."""
_BELONGS: Final = {
    "topic": "start",
    "when": "start",
    "every": "start",
    "attempts": "retry",
    "first": "retry",
    "budget": "retry",
}
_SHAPES: Final = {
    "branches": "`branches:`, and below it each by its name: `debit: {call: …}`",
    "call": "one text: `participant.command`",
    "deadline": "a number and a unit: `5m`",
    "input": "a JSON Schema: `{type: object, required: [id], properties: {id: {type: string}}}`",
    "needs": "a list, also of one: `[book]`",
    "none": 'why the effect may stand, as a text: `{none: "it expires by itself"}`',
    "pivot": "`true` or `false`",
    "retry": "`{attempts: 5, first: 1s, max: 1m}`",
    "saga": "its name alone; `version`, `steps` and the others stand beside it",
    "atomic": "its name alone; `version`, `branches` and the others stand beside it",
    "start": "`{topic: …, key: …}`",
    "steps": "each step by its name, without a hyphen before it: `book: {call: …, undo: …}`",
    "undo": 'one `participant.command`, or `{call: …}`, or `{none: "why it may stand"}`',
    "version": "a whole number: `1`",
    "with": "names and values: `{sku: …}`",
}
_KINDS: Final = {
    "dict_type": "names and values",
    "model_type": "names and values",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "`true` or `false`",
}
_NEVER: Final = {
    ("branches", "undo"): "a branch needs none: nothing of it stands before the decision",
    ("atomic", "steps"): "an atomic transaction has `branches`; `saga: name` has steps",
    ("saga", "branches"): "a saga has `steps`; `atomic: name` has branches",
}
_PLACES: Final = 2


def unknown_word(word: str, known: Collection[str], path: tuple[str | int, ...], kind: str) -> str:
    """Say what to write instead of a word that is not known here."""
    above = str(path[0]) if len(path) == _PLACES + 1 else kind
    if never := _NEVER.get((above, word)):
        return never
    if _CALLED.get(word) in known:
        return f"here it is called `{_CALLED[word]}`"
    if (home := _BELONGS.get(word)) in known:
        return f"it belongs into `{home}`"
    return did_you_mean(word, known)


def wrong_kind(kind: str, word: str, value: Any, path: tuple[str | int, ...]) -> tuple[str, str]:
    """Return a sentence and a hint for a value of the wrong kind, or two empty texts."""
    if kind not in _KINDS:
        return "", ""
    if len(path) == _PLACES and path[0] in ("steps", "branches"):
        part = "step" if path[0] == "steps" else "branch"
        said = f"`{word}` is {'empty' if value is None else f'no {part}'}"
        hint = "indent what belongs to it below it" if value is None else f"{part}s have names"
        return said, f"{hint}: `name: {{call: …}}`"
    has = "is empty" if value is None else f"is not {_shown(value)}"
    hint = _SHAPES.get(word, "")
    return f"`{word}` {has}: it takes {_KINDS[kind]}", f"write {hint}" if hint else ""


def _shown(value: Any) -> str:
    match value:
        case bool():
            return "`true`" if value else "`false`"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"`{value}`"


# ── expressions ──────────────────────────────────────────────────────────────

_NAMES: Final = "input|steps|branches|event|txn"
_BARE: Final = re.compile(rf"\s*(?:{_NAMES})(?:\.\w+)+\s*", re.ASCII)
_FOREIGN: Final = re.compile(rf"(?:\{{\{{|\$\(|#\{{|<%=?)\s*((?:{_NAMES})\b[^}})%]*)")
_FUNCTIONS: Final = {
    "len": "size(…)",
    "length": "size(…)",
    "str": "string(…)",
    "float": "double(…)",
    "startswith": "….startsWith(…)",
    "endswith": "….endsWith(…)",
    "None": "null",
    "True": "true",
    "False": "false",
}


_UNITS: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}


def length(of_us: int) -> str:
    """Write a length of time in the units of the language: `30d 2m`."""
    said: list[str] = []
    for unit, size in {**_UNITS, "ms": 1000}.items():
        count, of_us = divmod(of_us, size)
        said += [f"{count}{unit}"] if count else []
    return " ".join(said)


def meant_as_expression(text: str) -> str:
    """Return the expression that a text without `${ … }` was probably meant to hold, or nothing."""
    if _BARE.fullmatch(text):
        return text.strip()
    foreign = _FOREIGN.search(text)
    return foreign[1].strip() if foreign else ""


def unknown_call(name: str) -> str:
    """Say what to write instead of a function that there is not."""
    return _called_otherwise(name) or "let a step work it out, or whoever sends the event"


def _called_otherwise(name: str) -> str:
    if name in _FUNCTIONS:
        return f"in CEL it is `{_FUNCTIONS[name]}`"
    if name in ("now", "today", "date"):
        return "expressions know no clock: let the event bring its time"
    return ""


def unknown_name(name: str, names: Collection[str]) -> str:
    """Say what to write instead of a name that an expression may not use."""
    roots = {one.partition(".")[0] for one in names}
    if said := _called_otherwise(name):
        return said
    if name in ("input", "event") and roots & {"input", "event"}:
        other = "event" if name == "input" else "input"
        return f"the event's body is called `{other}` here"
    for root in ("steps", "branches"):
        if f"{root}.{name}" in names:
            return f"write `{root}.{name}`"
    return did_you_mean(name, roots)


def foreign_syntax(text: str) -> str:
    """Say what CEL has instead of another language's syntax, or nothing."""
    if "${" in text:
        return "it is an expression already: write it without `${ … }`"
    if re.search(r"\bif\b.*\belse\b", text):
        return "write `condition ? this : that`"
    if re.search(r"\bis\b", text):
        return "write `== null` or `!= null`"
    return ""
