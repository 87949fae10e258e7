"""JSON Schema, in both directions: of an input, and of the language itself."""

from __future__ import annotations

import json
from typing import Any, Final

from jsonschema import Draft202012Validator, exceptions
from referencing.jsonschema import DRAFT202012

from sagas.document import AtomicDocument, SagaDocument
from sagas.model import InputCheck, InputRefused, Json
from sagas.private import Find, finder
from sagas.references import SchemaInvalid, has_sensitive, no_schema, refuse_unusable

__all__ = ["SchemaInvalid", "input_check", "language_schema", "schema_text"]


_LONGEST: Final = 300


def input_check(schema: dict[str, Any] | None) -> tuple[InputCheck, Find | None]:
    """Compile a definition's `input`: what checks it, and what finds its sensitive places.

    Raises:
        SchemaInvalid: it is no JSON Schema of draft 2020-12, or not one that
            can be checked by itself and comes to an end.

    """
    if schema is None:
        return lambda _value: None, None
    library: Any = exceptions
    try:
        Draft202012Validator.check_schema(schema)
    except exceptions.SchemaError as error:
        wrong: Any = error
        said, hint = no_schema(wrong)
        raise SchemaInvalid(said, tuple(wrong.absolute_path), hint=hint) from error
    try:
        registry = refuse_unusable(schema)
    except RecursionError as error:
        raise SchemaInvalid("its references are chained too deeply", ()) from error
    validator: Any = Draft202012Validator(schema, registry=registry)
    root: Any = registry.resolver_with_root(DRAFT202012.create_resource(schema))
    find = finder(schema, lambda ref: root.lookup(ref).contents) if has_sensitive(schema) else None

    def check(value: Json) -> None:
        try:
            error = library.best_match(validator.iter_errors(value))
        except (RecursionError, ArithmeticError) as failed:
            said = str(failed) if find is None else type(failed).__name__
            raise InputRefused(f"input: it cannot be checked: {said}") from failed
        if error is not None:
            where = ".".join(map(str, error.absolute_path))
            said = error.message if find is None else _without_values(error)
            raise InputRefused(_short(f"input{'.' + where if where else ''}: {said}"))

    return check, find


def _without_values(error: Any) -> str:
    """Say what is wrong with an input that has sensitive fields: they may be anywhere in it."""
    if error.validator == "required":
        return error.message
    return f"it does not fit `{error.validator}`; its values are not shown"


def _short(reason: str) -> str:
    """Keep a reason to a line: it may hold the value, which may be long."""
    if len(reason) <= _LONGEST:
        return reason
    return f"{reason[: _LONGEST // 2]} … {reason[-_LONGEST // 2 :]}"


def language_schema() -> dict[str, Any]:
    """Return the JSON Schema of definition files, for editors."""
    saga = SagaDocument.model_json_schema(by_alias=True)
    atomic = AtomicDocument.model_json_schema(by_alias=True)
    definitions = {**saga.pop("$defs", {}), **atomic.pop("$defs", {})}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Twofold definition",
        "oneOf": [saga, atomic],
        "$defs": definitions,
    }


def schema_text(schema: dict[str, Any]) -> str:
    """Write a schema as the text of a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
