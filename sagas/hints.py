"""What to write instead: for words of other languages, and for values of the wrong kind.

Whoever writes a first definition comes from somewhere: another engine's
words, another language's signs. What he meant is mostly clear.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
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
    "approve": "`{roles: [clerk]}`, or `{}`: anybody",
    "branches": "`branches:`, and below it each by its name: `debit: {call: …}`",
    "call": "one text: `participant.command`",
    "deadline": "a number and a unit: `5m`",
    "each": "an expression that gives a list: `input.items`",
    "if": "an expression: `input.gift`",
    "index": "a list, also of one: `[order_id]`",
    "input": "a JSON Schema: `{type: object, required: [id], properties: {id: {type: string}}}`",
    "lock": '`{key: "order:${ input.order_id }"}`',
    "match": "an expression: `event.order_id == input.order_id`",
    "needs": "a list, also of one: `[book]`",
    "none": 'why the effect may stand, as a text: `{none: "it expires by itself"}`',
    "pivot": "`true` or `false`",
    "retry": "`{attempts: 5, first: 1s, max: 1m}`",
    "roles": "a list, also of one: `[clerk]`",
    "saga": "its name alone; `version`, `steps` and the others stand beside it",
    "atomic": "its name alone; `version`, `branches` and the others stand beside it",
    "start": "`{topic: …, key: …}`",
    "steps": "each step by its name, without a hyphen before it: `book: {call: …, undo: …}`",
    "tcc": "`{try: …, confirm: …, cancel: …}`",
    "topic": "one topic; for another, a second definition",
    "undo": 'one `participant.command`, or `{call: …}`, or `{none: "why it may stand"}`',
    "version": "a whole number: `1`",
    "wait": "`{topic: …, match: event.order_id == input.order_id}`",
    "when": "an expression: `event.total > 0`",
    "with": "names and values: `{sku: …}`",
}
_OF_STEPS: Final = {
    "atomic": "`{branches: {…}}`",
    "saga": "the name of the other saga alone; its input is `with`",
}
_KINDS: Final = {
    "dict_type": "names and values",
    "model_type": "names and values",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "`true` or `false`",
    "tuple_type": "a list",
}
_STEP_WORDS: Final = frozenset(
    {"call", "each", "if", "needs", "on_refused", "on_unknown", "pivot", "retry", "timeout", "undo"}
)
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
    if word in _STEP_WORDS and "steps" in known:
        return f"it belongs into a step: `steps: {{book: {{{word}: …}}}}`"
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
    if isinstance(path[-1], int):
        return f"`{word}` holds {_shown(value)}: each of it is {_KINDS[kind]}", ""
    hint = (_OF_STEPS if len(path) > _PLACES else {}).get(word) or _SHAPES.get(word, "")
    return f"`{word}` {has}: it takes {_KINDS[kind]}", f"write {hint}" if hint else ""


def misplaced_step(value: object, path: tuple[str | int, ...], works: Collection[str]) -> str:
    """Say where a step belongs that stands where a word is expected, or nothing."""
    if not isinstance(value, dict) or not any(word in value for word in works):
        return ""
    if len(path) == 1:
        return "if it is a step, indent it below `steps`"
    if len(path) == _PLACES + 1 and path[0] == "steps":
        return f"if it is a step, indent it no further than `{path[1]}`"
    return ""


def beyond(kind: str, word: str, value: Any, limits: Mapping[str, Any]) -> str:
    """Say that a value is not one of those that its word takes, or nothing."""
    least, most = limits.get("min_length"), limits.get("max_length")
    match kind:
        case "greater_than":
            return f"`{word}` is `{value}`: write more than that"
        case "greater_than_equal":
            return f"`{word}` is `{value}`: it is {limits['ge']:g} at least"
        case "less_than_equal" if isinstance(value, str):
            return f"`{word}` is `{value}`: it is {length(limits['le'])} at most"
        case "less_than_equal":
            return f"`{word}` is `{value}`: it is {limits['le']} at most"
        case "literal_error":
            named = f"`{value}`" if isinstance(value, str) else _shown(value)
            choice = str(limits["expected"]).replace("'", "`")
            return f"`{word}` is not {named}: it takes {choice}"
        case "string_too_short" | "too_short" if least == 1:
            return f"`{word}` is empty"
        case "too_long":
            return f"`{word}` holds {len(value)}: {most} at most"
        case _:
            return ""


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
_FIELD: Final = rf"(?:{_NAMES})(?:\.\w+|\[(?:\d+|\"\w+\"|'\w+')\])+"
_BARE: Final = re.compile(rf"\s*(?:\$\.|[$@=])?({_FIELD})\s*", re.ASCII)
_SUM: Final = re.compile(
    rf"\s*{_FIELD} *(?:[=!<>]=|&&|\|\||[-+*/<>]) *(?:\d|[\"']|{_FIELD}).*", re.ASCII
)
_FOREIGN: Final = re.compile(rf"(?:\{{\{{|\$\(|\$\s+\{{|#\{{|<%=?)\s*((?:{_NAMES})\b[^}})%]*)")
_BRACED: Final = re.compile(rf"\{{({_FIELD})\}}", re.ASCII)
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


_LENGTH: Final = re.compile(
    r"([0-9]{1,6}(?:\.[0-9])?) ?"
    r"(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?)\b"
    r"|([0-9]{1,6})([smhd])",
    re.IGNORECASE,
)


def meant_as_length(value: object) -> str:
    """Return the length of time that was probably meant, as the language writes it, or nothing.

    `5 minutes`, `1h30m`, `1.5h`, `1w`; a number alone may be seconds.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value}s" if value > 0 else ""
    parts = list(_LENGTH.finditer(value)) if isinstance(value, str) else []
    rest = _LENGTH.sub("", value).strip() if isinstance(value, str) else ""
    if not parts or rest:
        return ""
    sizes = {**_UNITS, "ms": 1000, "w": 7 * _UNITS["d"]}
    of_us = 0
    for part in parts:
        unit = (part[2] or part[4]).lower()
        of_us += round(float(part[1] or part[3]) * sizes[unit if unit == "ms" else unit[0]])
    unit = next((one for one, size in _UNITS.items() if of_us % size == 0), "ms")
    return f"{of_us // sizes[unit]}{unit}" if of_us > 0 else ""


def meant_as_expression(text: str) -> str:
    """Return the expression that a text without `${ … }` was probably meant to hold, or nothing."""
    if (bare := _BARE.fullmatch(text)) is not None:
        return bare[1]
    if _SUM.fullmatch(text):
        return text.strip()
    foreign = _FOREIGN.search(text) or ("${" not in text and _BRACED.search(text))
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
    if name in ("each", "each_index"):
        return "only a step with `each` knows it"
    for root in ("steps", "branches"):
        if f"{root}.{name}" in names:
            return f"write `{root}.{name}`"
    return did_you_mean(name, roots)


def hyphenated(source: str, name: str) -> str:
    """Say how to name a field with a hyphen, if this name is the end of one."""
    field = re.search(rf"([a-z]\w*)\.(\w+(?:-\w+)*-{re.escape(name)}(?:-\w+)*)\b", source)
    return f'a field with a hyphen is `{field[1]}["{field[2]}"]`' if field else ""


def foreign_syntax(text: str) -> str:
    """Say what CEL has instead of another language's syntax, or nothing."""
    if text.startswith("{") and ":" not in text:
        return "write `${ … }`, with one brace"
    if re.search(r"\?\.|\?\?", text):
        return "write `has(input.note) ? input.note : …`"
    if "=>" in text:
        return "write `….map(item, item.sku)`"
    if re.search(r"\bnot\s", text):
        return "write `!`"
    if "${" in text:
        return "it is an expression already: write it without `${ … }`"
    if re.search(r"\bif\b.*\belse\b", text):
        return "write `condition ? this : that`"
    if re.search(r"\bis\b", text):
        return "write `== null` or `!= null`"
    return ""
