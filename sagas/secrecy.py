"""What is sensitive must not be named where everything is shown: start keys, search words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sagas.document import AtomicDocument, SagaDocument
from sagas.problems import Problem
from sagas.references import sensitive_names
from sagas.source import Source


def exposed(source: Source, document: SagaDocument | AtomicDocument) -> Iterator[Problem]:
    """Find where a sensitive field would be shown."""
    key = document.start.key or ""
    for name in sensitive_names(document.input or {}):
        if re.search(rf"\bevent\.{re.escape(name)}\b", key):
            said = f"`{name}` is sensitive, and a start key is shown in lists, logs and traces"
            yield source.problem("sensitive-key", said, path=("start", "key"))
        for i, field in enumerate(document.index):
            if f"{field}.".startswith(f"{name}.") or f"{name}.".startswith(f"{field}."):
                said = f"`{field}` is sensitive, and would be found by it"
                yield source.problem("sensitive-key", said, path=("index", i))
