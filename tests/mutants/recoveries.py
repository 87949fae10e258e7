"""Bugs of a recovery: what it takes for proof, and what it does not."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

REBUILD: Final = "recovery/rebuild.py"
PAGE: Final = "recovery/page.py"
STARTS: Final = "recovery/starts.py"

PROVED: Final = "    if Sent.COMMIT in traces.sent or COMMITTED in traces.branches.values():"

RECOVERIES: Final = (
    Mutant(
        "waits for a group that what came after it shows to have ended",
        REBUILD,
        "        if over:\n            return _past_group(move, name, traces, now_us)\n",
        "",
        "what came after it is not known, and not undone",
    ),
    Mutant(
        "goes back although it cannot tell why a step was done",
        REBUILD,
        "        if (unknown := _unknown(move.state, traces)) and not _ends(traces):\n",
        "        if (unknown := _unknown(move.state, traces)) and _ends(traces):\n",
        "the step would be left standing",
    ),
    Mutant(
        "takes a group for done of which nothing is committed",
        REBUILD,
        "    elif _goes_without(move.state, name):\n",
        "    elif False:\n",
        "a saga goes on as if it had what it was refused",
    ),
    Mutant(
        "fills the letter box with nothing that came later",
        "recovery/letters.py",
        "await reader.since(places, since_ms), await reader.ends(places)\n",
        "await reader.ends(places), await reader.ends(places)\n",
        "a wait ends as if its event had not come",
    ),
    Mutant(
        "waits at a place of which nobody knows",
        PAGE,
        "if not isinstance(one, ChildBegan | WaitBegan)]\n",
        "if not isinstance(one, ChildBegan)]\n",
        "nobody is told of the event",
    ),
    Mutant(
        "presumes abort of what has committed",
        REBUILD,
        PROVED,
        "    if Sent.COMMIT in traces.sent:",
        "a branch that has committed proves the decision",
    ),
    Mutant(
        "presumes abort of what is told to commit",
        REBUILD,
        PROVED,
        "    if COMMITTED in traces.branches.values():",
        "a commit that is on its way proves the decision",
    ),
    Mutant(
        "presumes commit where all are prepared",
        REBUILD,
        PROVED,
        "    if traces.branches and set(traces.branches.values()) <= {PREPARED, COMMITTED}:",
        "nobody has heard of a commit, and a rollback may be on its way",
    ),
    Mutant(
        "has read-only branches commit",
        REBUILD,
        "    return tuple(name for name in state.definition.branches if name in held)",
        "    return tuple(state.definition.branches)",
        "a branch without a trace has nothing to commit",
    ),
    Mutant(
        "has branches commit that are rolled back",
        REBUILD,
        "if seen in (PREPARED, COMMITTED)}",
        "if seen}",
        "a late copy of a Prepare rolls back a branch that has only read",
    ),
    Mutant(
        "decides for a branch that is alone",
        REBUILD,
        "    if told is None and len(state.definition.branches) == 1:",
        "    if told is not None and len(state.definition.branches) == 0:",
        "a lone branch decides, and may be about to",
    ),
    Mutant(
        "goes on with a saga that was told to go back",
        REBUILD,
        "    return back or undone or Sent.UNDO in traces.sent",
        "    return back or undone",
        "an undo that is on its way will be done",
    ),
    Mutant(
        "goes on with a saga that has gone back",
        REBUILD,
        '        did.status in ("sealed", "undone")\n        or',
        '        did.status == "sealed"\n        or',
        "a step that was undone stays so",
    ),
    Mutant(
        "knows nothing of steps that were done",
        REBUILD,
        '        elif did.status in ("done", "undone"):',
        '        elif did.status == "undone":',
        "a deadline that has passed meanwhile undoes what must stand",
    ),
    Mutant(
        "tells another outcome than was told",
        REBUILD,
        "    if Outcome(told.outcome) in FINAL:\n        closed",
        "    if Outcome(told.outcome) in ():\n        closed",
        "what was told stands",
    ),
    Mutant(
        "begins anew what was begun and sent",
        PAGE,
        "        elif traces:",
        "        elif traces.branches or traces.steps or traces.told:",
        "commands that are still to be done belong to the old name",
    ),
    Mutant(
        "names starts by their place alone",
        STARTS,
        "unique = gids.unique_of_start(*at, begin.key, definition.hash)",
        'unique = gids.unique_of_start(*at, begin.key, "")',
        "what was done under a name is put down to no start",
    ),
)
