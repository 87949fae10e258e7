"""What is sensitive must not be named where all is shown: start keys, locks, search words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sagas.document import AtomicDocument, SagaDocument
from sagas.problems import Problem
from sagas.references import sensitive_names
from sagas.source import Source
from sagas.templates import texts


def exposed(source: Source, document: SagaDocument | AtomicDocument) -> Iterator[Problem]:
    """Find where a sensitive field would be shown."""
    key = document.start.key or ""
    for name in sensitive_names(document.input or {}):
        if re.search(rf"\bevent\.{re.escape(name)}\b", key):
            said = f"`{name}` is sensitive, and a start key is shown in lists, logs and traces"
            yield source.problem("sensitive-key", said, path=("start", "key"))
        lock = document.lock.key if isinstance(document, SagaDocument) and document.lock else None
        for text, path in texts(lock, ("lock", "key")):
            if re.search(rf"\binput\.{re.escape(name)}\b", text):
                said = f"`{name}` is sensitive, and whoever asks who has a lock sees its name"
                yield source.problem("sensitive-key", said, path=path)
        for i, field in enumerate(document.index):
            if not name or f"{field}.".startswith(f"{name}.") or f"{name}.".startswith(f"{field}."):
                said = f"`{field}` is sensitive, and would be found by it"
                yield source.problem("sensitive-key", said, path=("index", i))
