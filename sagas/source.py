"""YAML text → plain values, with the place of each.

A definition needs little of YAML, so what invites mistakes is refused:
anchors and aliases, tags, duplicate keys, several documents, tabs.
YAML 1.2 (https://yaml.org/spec/1.2.2/): `no` is a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from sagas import parser
from sagas.problems import Code, DefinitionInvalid, Problem

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 20

Path: TypeAlias = tuple[str | int, ...]

_TAG: Final = "tag:yaml.org,2002:"
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_ODD_BLANK: Final = re.compile("[\u00a0\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]")
_PADDED: Final = re.compile(r"[-+]?0[0-9]+")
_QUOTE: Final = "quote it to make it a text"
_OTHER_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")
_HALF: Final = re.compile("[\ud800-\udfff]")
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_BITS: Final = 63
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Final = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
}


class Source:
    """A definition's text, its values, and where they stand."""

    def __init__(self, text: str, origin: str) -> None:
        self.text, self.origin = text, origin
        self.lines = _LINE_BREAK.split(text)
        self._problems: list[Problem] = []
        self.doubts: list[Problem] = []
        """What can be read, and is hardly meant so."""
        self._keys: dict[Path, tuple[int, int]] = {}
        self._values: dict[Path, tuple[int, int]] = {(): (1, 1)}
        self.value: Any = self._read()
        if self._problems:
            raise DefinitionInvalid(self._problems)

    def problem(
        self, code: Code, message: str, hint: str = "", *, path: Path = (), key: bool = False
    ) -> Problem:
        """Make a problem at a value, or at its key; where it is missing, at what would hold it."""
        return self._at(code, message, hint, *self.place(path, key=key))

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of a value or of its key, or of what would hold it."""
        places = self._keys if key else self._values
        while path and path not in places:
            path = path[:-1]
            places = self._keys if path in self._keys else self._values
        return places.get(path, (1, 1))

    def _at(self, code: Code, message: str, hint: str, line: int, column: int) -> Problem:
        excerpt = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return Problem(code, message, hint, self.origin, line, column, excerpt)

    # ── reading ──────────────────────────────────────────────────────────────

    def _read(self) -> Any:
        size = len(self.text.encode("utf-8", "surrogatepass"))
        if size > MAX_BYTES:
            self._fail("too-large", f"the file has {size} bytes, over {MAX_BYTES}")
        if (bad := _UNPRINTABLE.search(self.text)) is not None:
            said = f"the character U+{ord(bad[0]):04X} is not allowed"
            self._fail("yaml", said, *_place(self.text, bad.start()))
        node: Any = None
        try:
            self._refuse_fancy()
            node = self._yaml().compose(self.text)
        except MarkedYAMLError as error:
            marked: Any = error
            mark, begun = marked.problem_mark or marked.context_mark, marked.context_mark
            said = _first_line(marked.problem or str(error))
            if "end of stream" in said and begun is not None:
                self._fail("yaml", "this quote has no end", begun.line + 1, begun.column + 1)
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            before = self.lines[line - 2] if line > 1 else ""
            told = parser.plainly(said, self.lines[line - 1], column, before)
            if begun is not None and begun.line + 1 < line and "expected ','" in said:
                told = (said, f"is what begins in line {begun.line + 1} closed?")
            self._fail("yaml", told[0], line, column, told[1])
        except (YAMLError, ValueError, RecursionError, AssertionError, IndexError) as error:
            self._fail("yaml", _first_line(str(error)) or type(error).__name__)
        if node is None:
            self._fail("empty", "there is no definition in this file")
        return self._construct(node, ())

    @staticmethod
    def _yaml() -> Any:  # ruamel's types say little
        yaml: Any = YAML(typ="rt", pure=True)
        yaml.version = (1, 2)
        return yaml

    def _refuse_fancy(self) -> None:
        """Look at the bare events first: an alias bomb is refused before it is built."""
        documents = depth = 0
        for event in self._yaml().parse(self.text):
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            kind = type(event).__name__
            depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
            if depth > MAX_DEPTH:
                self._fail("too-deep", f"more than {MAX_DEPTH} levels", *place)
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._fail("documents", "a file holds one definition", *place)
            elif isinstance(event, AliasEvent):
                self._fail("alias", "aliases are not allowed: write it out", *place)
            elif getattr(event, "anchor", None):
                self._fail("alias", "anchors are not allowed: write it out", *place)
            elif str(getattr(event, "tag", None) or "") not in ("", "!"):
                self._fail("tag", "tags are not allowed", *place, parser.of_tag(str(event.tag)))
            elif _HALF.search(str(getattr(event, "value", ""))):
                self._fail("encoding", "half a surrogate pair is no character", *place)

    def _fail(
        self, code: Code, message: str, line: int = 1, column: int = 1, hint: str = ""
    ) -> Any:
        raise DefinitionInvalid([self._at(code, message, hint, line, column)])

    # ── constructing ─────────────────────────────────────────────────────────

    def _construct(self, node: Any, path: Path) -> Any:
        self._values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
        inside: Any = node.value
        if isinstance(node, MappingNode):
            return dict(self._pairs(inside, path))
        if isinstance(node, SequenceNode):
            return [self._construct(item, (*path, i)) for i, item in enumerate(inside)]
        if node.style is None and _PADDED.fullmatch(str(inside)):
            said = f"`{inside}` is a number, and would lose its zero"
            hint = f"leave the zero out, or {_QUOTE}"
            self.doubts.append(self._at("shape", said, hint, *self._values[path]))
        try:
            return _scalar(node)
        except ValueError as error:
            problem = self._at("shape", str(error), _QUOTE, *self._values[path])
            self._problems.append(problem)
            return None

    def _pairs(self, pairs: Any, path: Path) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for key_node, value_node in pairs:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            key = str(key_node.value)
            if (blank := _ODD_BLANK.search(key)) is not None:
                said = f"the character U+{ord(blank[0]):04X} looks like a space, and is none here"
                self._problems.append(self._at("yaml", said, "write it anew", *place))
                continue
            if not isinstance(key_node, ScalarNode):
                self._problems.append(self._at("yaml", "a key must be a word", "", *place))
                continue
            plain: Any = key_node
            if key == "<<" and plain.style is None:
                said = "merge keys are not allowed: write it out"
                self._problems.append(self._at("alias", said, "", *place))
                continue
            if key in seen:
                said = f"`{key}` is said twice"
                self._problems.append(self._at("duplicate-key", said, "", *place))
                continue
            seen.add(key)
            self._keys[*path, key] = place
            yield key, self._construct(value_node, (*path, key))


def _scalar(node: Any) -> Any:
    """Resolve a plain scalar by the core schema of YAML 1.2; anything quoted is a text."""
    text = str(node.value)
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        number = float(text) if _FLOAT.fullmatch(text) else math.inf
        if not math.isfinite(number):
            raise ValueError(f"`{text}` is no JSON number")
        return number
    return text


def _integer(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text, base) if len(text) <= _BITS + 2 else 1 << _BITS
    if not -(1 << _BITS) <= number < 1 << _BITS:
        raise ValueError("an integer has at most 64 bits")
    return number


def decoded(data: bytes, origin: str) -> str:
    """Read bytes as UTF-8, or raise DefinitionInvalid with the place of what is not."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = _place(before, len(before))
        said = f"the byte 0x{data[error.start]:02X} is not UTF-8"
        excerpt = _LINE_BREAK.split(data.decode("utf-8", "replace"))[line - 1]
        problem = Problem("encoding", said, "save the file as UTF-8", origin, line, column, excerpt)
        raise DefinitionInvalid([problem]) from error
    return _LINE_BREAK.sub("\n", text)


def _place(text: str, position: int) -> tuple[int, int]:
    """Return line and column of a position, from 1."""
    lines = _LINE_BREAK.split(text[:position])
    return len(lines), len(lines[-1]) + 1


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
