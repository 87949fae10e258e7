"""JSON Schema, in both directions: of an input, and of the language itself."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator, exceptions

from sagas.document import AtomicDocument, SagaDocument
from sagas.model import InputCheck, InputRefused, Json


class SchemaInvalid(Exception):
    """An `input` that is no JSON Schema: what is wrong, and where in it."""

    def __init__(self, message: str, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


def input_check(schema: dict[str, Any] | None) -> InputCheck:
    """Compile a definition's `input`.

    Raises:
        SchemaInvalid: it is no JSON Schema of draft 2020-12.

    """
    if schema is None:
        return lambda _value: None
    try:
        Draft202012Validator.check_schema(schema)
    except exceptions.SchemaError as error:
        wrong: Any = error
        raise SchemaInvalid(wrong.message, tuple(wrong.absolute_path)) from error
    validator: Any = Draft202012Validator(schema)
    library: Any = exceptions

    def check(value: Json) -> None:
        error = library.best_match(validator.iter_errors(value))
        if error is not None:
            where = ".".join(map(str, error.absolute_path))
            raise InputRefused(f"input{'.' + where if where else ''}: {error.message}")

    return check


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


def language_schema_text() -> str:
    """Return it as the text of schema.json."""
    return json.dumps(language_schema(), indent=2, ensure_ascii=False) + "\n"
