"""What is wrong with a result that an expression may not name, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sagas import graph
from sagas.problems import Problem, did_you_mean
from sagas.source import Path, Source


def misnamed(
    source: Source,
    dotted: str,
    path: Path,
    names: Collection[str],
    needs: Mapping[str, list[str]],
) -> Problem:
    """Say what is wrong with `steps.pay.id`, of which `steps.pay` may not be named here."""
    root, name, *_ = [*dotted.split("."), ""]
    known = source.value.get(root, {})
    if not name and known:
        said, hint = f"`{root}` alone has no value", f"name one: `{root}.<id>`"
        return source.problem("expression", said, hint, path=path)
    if root == "steps" and name in known:
        said = f"`steps.{name}` need not be done when this is evaluated"
        return source.problem("not-done-yet", said, _when_done(name, path, needs), path=path)
    if name in known:
        said = f"`{root}.{name}` has no result before the decision: only `output` may name it"
        return source.problem("not-done-yet", said, path=path)
    said = f"there is no {'step' if root == 'steps' else 'branch'} `{name}`"
    done = [one.partition(".")[2] for one in names if one.startswith(f"{root}.")]
    return source.problem("unknown-step", said, did_you_mean(name, done), path=path)


def _when_done(name: str, path: Path, needs: Mapping[str, list[str]]) -> str:
    """Say how a step comes to be done before what names it, where it can."""
    if path[0] != "steps":
        return "no step is done yet here"
    me = str(path[1])
    if name == me:
        return "only its undo may name it"
    if me in graph.ancestors(needs, name):
        return f"`{name}` comes after `{me}`: change their order"
    return f"add `{name}` to `needs`"
