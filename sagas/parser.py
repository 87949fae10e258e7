"""What the YAML parser says, as people say it, and what to write instead."""

from __future__ import annotations

import re
from typing import Final

_NO_SPACE: Final = re.compile(r"\s*[a-z_]+:[^\s]")
_FIRST: Final = re.compile(r"\s*[\w-]+")
_COLON: Final = "quote a text that holds a colon"
_CONDITION: Final = re.compile(r"!(?:input|steps|event|has)\b[^,}\]]*")
_PLAIN: Final = (
    ("character '\\t'", "a tab cannot indent", "use spaces"),
    ("could not find expected ':'", "", "does a word above lack its colon?"),
    ("cannot start any token", "", "quote a text that begins with it"),
    (
        "but found '<scalar>'",
        "this does not belong to what is before it",
        'quote all of the text: \'"a" == "b"\'',
    ),
    (
        "expected <block end>",
        "this line is indented like none above it",
        "align it with what it stands beside",
    ),
)
"""What is a part of the parser's sentence, another sentence or none, and a hint."""


def plainly(said: str, line: str, column: int, before: str) -> tuple[str, str]:
    """Return a sentence and a hint for what is said of a line, after the line ``before``."""
    if "expected ',' or '}'" in said and (hint := _between_braces(line, column)):
        return said, hint
    if "got ':'" in said or "mapping values are not allowed" in said:
        return said, _of_colon(line, column, before)
    if "expected alphabetic" in said and line[column - 2 : column - 1] == "*":
        return "`*` begins an alias", 'quote a text that begins with `*`: "*/5 * * * *"'
    if "expected ' '" in said and (tag := _CONDITION.search(line)) is not None:
        return said, of_tag(tag[0])
    for part, plain, hint in _PLAIN:
        if part in said:
            return plain or said, hint
    return said, ""


def of_tag(tag: str) -> str:
    """Say what to write instead of a tag. A condition that begins with `!` looks like one."""
    if (condition := _CONDITION.match(tag)) is not None:
        return f'quote a condition that begins with `!`: "{condition[0]}"'
    return "leave it out: a value's type is what it looks like, and what is quoted is a text"


def _between_braces(line: str, column: int) -> str:
    if "${" in line:
        return 'quote what holds `${ … }`: "${ input.id }"'
    if line[column - 1 : column] in ("[", "{"):
        return "between braces, quote a text that holds `[` or `{`"
    return ""


def _of_colon(line: str, column: int, before: str) -> str:
    if "\u00a0" in line[:column]:
        return "the line has a no-break space (U+00A0): write it anew"
    if _NO_SPACE.match(before) and _FIRST.fullmatch(line[: column - 1]):
        return "in the line above, the colon needs a space after it"
    if _FIRST.fullmatch(line[: column - 1]):
        return f"align it with the line above, or {_COLON}"
    return _COLON
