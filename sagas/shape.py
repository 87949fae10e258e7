"""Does a document have the shape that the language gives it? If not: where, and what to write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from sagas.document import A_LENGTH, DOCUMENTS, LATER, NOT_YET, WORKS, AtomicDocument, SagaDocument
from sagas.hints import beyond, meant_as_length, misplaced_step, unknown_word, wrong_kind
from sagas.problems import DefinitionInvalid, Problem
from sagas.source import Path, Source

M = TypeVar("M", bound=BaseModel)

_PATTERNS: Final = {
    **dict.fromkeys(
        ("call", "try", "confirm", "cancel"),
        "write `participant.command`, in lower case: `stock.reserve`",
    ),
    "undo": 'write `participant.command`, or `{call: …}`, or `{none: "why it may stand"}`',
    "topic": "a topic has letters, digits, dots, underscores and hyphens",
}


def shape(source: Source) -> SagaDocument | AtomicDocument:
    """Read the document, or raise DefinitionInvalid with everything that does not fit."""
    value = source.value
    if not isinstance(value, dict):
        raise DefinitionInvalid([source.problem("shape", "a definition is a mapping of words")])
    kinds = [kind for kind in DOCUMENTS if kind in value]
    if len(kinds) != 1:
        said = "a definition is either a saga or atomic" if kinds else "what is it?"
        hint = "begin with `saga: name` or `atomic: name`"
        raise DefinitionInvalid([source.problem("kind", said, hint)])
    document = fitted(source, DOCUMENTS[kinds[0]])
    if problems := [*_works(source, document)]:
        raise DefinitionInvalid(problems)
    return document


def fitted(source: Source, model: type[M]) -> M:
    """Read a source as this model, or raise DefinitionInvalid with everything that does not fit."""
    try:
        return model.model_validate(source.value)
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems = [_problem(source, model, dict(one)) for one in found]
        raise DefinitionInvalid(problems) from error


def _works(source: Source, document: SagaDocument | AtomicDocument) -> Iterator[Problem]:
    """Insist that each step does one thing."""
    for name, step in document.steps.items() if isinstance(document, SagaDocument) else ():
        said = [word for word in WORKS if getattr(step, word) is not None]
        path: Path = ("steps", name)
        if not said:
            hint = f"add one of {', '.join(f'`{word}: …`' for word in WORKS)}"
            yield source.problem(
                "missing", f"step `{name}` does nothing", hint, path=path, key=True
            )
        for word in said[1:]:
            text = f"step `{name}` has `{said[0]}` already: a step does one thing"
            hint = "write two steps"
            yield source.problem("two-works", text, hint, path=(*path, word), key=True)


def _problem(source: Source, model: type[BaseModel], error: dict[str, Any]) -> Problem:
    # Pydantic's own signs, [key] and the tags of unions, are no places in the file.
    path: Path = tuple(part for part in error["loc"] if str(part)[:1] not in ("[", "<"))
    word = next((part for part in reversed(path) if isinstance(part, str)), "")
    match error["type"]:
        case "extra_forbidden":
            return _unknown(source, model, path, word, error["input"])
        case "missing":
            hint = f"add `{word}: …`"
            return source.problem("missing", f"`{word}` is missing", hint, path=path[:-1], key=True)
        case "string_pattern_mismatch" if "[key]" in error["loc"]:
            hint = f"`{word.replace('-', '_').lower()}`" if "-" in word else ""
            said = f"`{word}` is no id: lower-case letters, digits and underscores, 40 at most"
            return source.problem("name", said, hint, path=path, key=True)
        case "cel_word":
            said = f"`{word}` is a word of CEL: no expression could name it"
            return source.problem("name", said, f"`{word}_step`, say", path=path, key=True)
        case "string_pattern_mismatch":
            hint = _PATTERNS.get(word, "lower-case letters, digits and hyphens, 40 at most")
            return source.problem(
                "name", f"`{_shown(error['input'])}` is not right here", hint, path=path
            )
        case kind if (told := wrong_kind(kind, word, error["input"], path))[0]:
            return source.problem("shape", *told, path=path, key=error["input"] is None)
        case kind if told := beyond(kind, word, error["input"], error.get("ctx", {})):
            return source.problem("shape", told, path=path)
        case _:
            said = str(error["msg"]).removeprefix("Value error, ")
            where = f"`{word}`: " if word else ""
            meant = meant_as_length(error["input"]) if said == A_LENGTH else ""
            hint = f"write `{meant}`" if meant else ""
            return source.problem("shape", where + said[:1].lower() + said[1:], hint, path=path)


def _unknown(
    source: Source, model: type[BaseModel], path: Path, word: str, value: object
) -> Problem:
    if word in LATER:
        said = f"`{word}` is not part of the language yet"
        return source.problem("unknown-word", said, NOT_YET, path=path, key=True)
    known = _known(model, path[:-1])
    hint = unknown_word(word, known, path, next(iter(model.model_fields)))
    if not hint or hint.startswith("known here"):
        hint = misplaced_step(value, path, WORKS) or hint
    return source.problem("unknown-word", f"unknown word `{word}`", hint, path=path, key=True)


def _known(model: type[BaseModel], path: Path) -> set[str]:
    """Collect the words that are known at a place, by walking the schema."""
    schema = model.model_json_schema(by_alias=True)
    here: list[dict[str, Any]] = [schema]
    for part in path:
        here = [inner for one in here for inner in _inside(schema, one, str(part))]
    return {word for one in here for word in one.get("properties", {})}


def _inside(schema: dict[str, Any], one: dict[str, Any], part: str) -> list[dict[str, Any]]:
    listed = one.get("items") if part.isdecimal() else None
    found = one.get("properties", {}).get(part) or one.get("additionalProperties") or listed
    if not isinstance(found, dict):
        patterns: dict[str, Any] = one.get("patternProperties", {})
        found = next(iter(patterns.values()), None)
    return _resolved(schema, found) if isinstance(found, dict) else []  # pyright: ignore[reportUnknownArgumentType]


def _resolved(schema: dict[str, Any], one: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in one:
        return _resolved(schema, schema["$defs"][one["$ref"].rpartition("/")[2]])
    if options := one.get("anyOf") or one.get("oneOf"):
        return [inner for option in options for inner in _resolved(schema, option)]
    return [one]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"  # noqa: PLR2004  # a line's worth
