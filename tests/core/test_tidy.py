"""Style that a tool can hold: short files, short functions, one place for each library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("wire", "sagas", "coordinator", "participants", "audit", "recovery", "compose")
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 50

FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield all functions, also those inside others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def relative(file: Path) -> str:
    """Name a file as people do."""
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_files_and_functions_are_short_and_say_what_is_true(file: Path) -> None:
    """A page for a function, an idea for a file, and a docstring at the top."""
    text = file.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert ast.get_docstring(tree)
    long = {
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in functions(tree)
        if node.end_lineno and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert not long


def test_one_module_imports_each_awkward_library() -> None:
    """So that a replacement is a change of one file."""
    homes = {"aiokafka": "wire/kafka.py", "cel_expr_python": "sagas/expressions.py"}
    for library, home in homes.items():
        users = [relative(f) for f in FILES if f"import {library}" in f.read_text()] + [
            relative(f) for f in FILES if f"from {library}" in f.read_text()
        ]
        assert set(users) == {home}, library


def test_nothing_sleeps_in_the_core() -> None:
    """The pure parts know no time, no chance and no I/O."""
    pure = [*(ROOT / "coordinator" / "core").glob("*.py"), *(ROOT / "sagas").glob("*.py")]
    pure += [ROOT / "participants" / name for name in ("branch.py", "step.py", "backlog.py")]
    banned = {"asyncio", "time", "random", "uuid", "logging", "structlog", "datetime", "os"}
    for file in pure:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not banned & {name.partition(".")[0] for name in names}, relative(file)
