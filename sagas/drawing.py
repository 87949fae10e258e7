"""A definition as a picture, in the language of Mermaid (https://mermaid.js.org/syntax/flowchart).

Each step is a node with whom it asks and how it is undone; the pivot has six
corners, and what is done only if a condition holds has a dashed edge. An arrow
means *needs*; those that follow from others are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sagas import graph
from sagas.model import AnyDefinition, Atomic, Gate, Saga, Step
from sagas.source import Source

_INDENT: Final = "    "
_SPECIAL: Final = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;"}
_LONGEST: Final = 60


def mermaid(definition: AnyDefinition) -> str:
    """Draw a definition as the text of a Mermaid flowchart; the same text for the same one."""
    first = [f"{definition.name} {definition.version}"]
    if definition.start.topic is not None:
        first.append(f"on {definition.start.topic}")
    if definition.start.every is not None:
        written: Mapping[str, Any] = Source(definition.source, definition.name).value
        first.append(f"every {written['start']['every']}")
    lines = ["flowchart TD", f"start([{_label(*first)}])"]
    lines += _saga(definition) if isinstance(definition, Saga) else _atomic(definition)
    return f"\n{_INDENT}".join(lines)


def _saga(saga: Saga) -> Iterator[str]:
    written: Mapping[str, Any] = Source(saga.source, saga.name).value["steps"]
    needs = {name: step.needs for name, step in saga.steps.items()}
    for name, step in saga.steps.items():
        said = written.get(name, {})
        left, right = ("{{", "}}") if step.pivot else ("[", "]")
        yield f"{_id(name)}{left}{_step(step, said.get('undo'))}{right}"
    for name, step in saga.steps.items():
        condition = written.get(step.confirms or name, {}).get("if")
        for need in direct(needs, name) or ["start"]:
            before = need if need == "start" else _id(need)
            line = f"-. {_label(f'if {condition}')} .->" if condition else "-->"
            yield f"{before} {line} {_id(name)}"


def _id(step: str) -> str:
    """Name a step's node. Steps that nobody wrote have a dot, which Mermaid does not take."""
    return f"t_{step.replace('.', '_')}" if "." in step else f"s_{step}"


def _step(step: Step, undo: Any) -> str:
    words = [step.name, str(step.work)]
    if isinstance(step.work, Gate):
        words = ["all is done"]
    elif step.pivot:
        words.append("pivot")
    elif step.undo is not None:
        words.append(f"undo: {step.undo.work}")
    elif undo is not None:
        words.append("may stand")
    return _label(*words)


def _atomic(atomic: Atomic) -> Iterator[str]:
    for name, branch in atomic.branches.items():
        yield f"b_{name}[{_label(name, str(branch.call))}]"
        yield f"start === b_{name}"


def direct(needs: graph.Needs, step: str) -> list[str]:
    """Return what a step needs, without what those need in turn."""
    implied = {far for need in needs[step] for far in graph.ancestors(needs, need)}
    return [need for need in needs[step] if need not in implied]


def _label(*lines: str) -> str:
    return '"' + "<br/>".join(map(_escaped, lines)) + '"'


def _escaped(text: str) -> str:
    line = " ".join(text.split())
    short = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
    return "".join(_SPECIAL.get(sign, sign) for sign in short)
