"""Bugs of a recovery: what it takes for proof, and what it does not."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

ATOMIC: Final = "recovery/atomic.py"
REBUILD: Final = "recovery/rebuild.py"
FAMILIES: Final = "recovery/families.py"
PAGE: Final = "recovery/page.py"
STARTS: Final = "recovery/starts.py"

PROVED: Final = "    if Sent.COMMIT in traces.sent or COMMITTED in traces.branches.values():"

RECOVERIES: Final = (
    Mutant(
        "does not say that what is parked had gone on",
        REBUILD,
        "    return sorted(done | begun | traces.going_back)\n",
        "    return []\n",
        "a person lets it go back, and what was done since stands",
    ),
    Mutant(
        "keeps nothing of what a branch has returned",
        "participants/postgres.py",
        "        if self._data is None:\n",
        "        if True:\n",
        "what later inputs name is null, once a log is lost",
    ),
    Mutant(
        "asks a part what it has done, and does not hear it",
        REBUILD,
        "        if end and child and (child.gid, child.outcome) == (part.gid, None):\n",
        "        if False:\n",
        "a saga waits for a part that has told it long ago",
    ),
    Mutant(
        "asks to undo what must have been undone before all the rest",
        REBUILD,
        "_is_undone(move.state, name, traces):\n",
        "False:\n",
        "a step that cannot be asked leaves a branch in doubt for ever",
    ),
    Mutant(
        "takes for done what has gone back since",
        REBUILD,
        "        if part.gone and child and",
        "        if False and child and",
        "a saga goes on without what it was built on",
    ),
    Mutant(
        "lets a part go on whose saga was told to have gone back",
        REBUILD,
        "    if taken_back or part.attempt < _last(traces, part.step):\n",
        "    if part.attempt < _last(traces, part.step):\n",
        "a part does what nobody will undo",
    ),
    Mutant(
        "takes for done what a saga may have gone without",
        FAMILIES,
        "        if may_lack and said.came_to",
        "        if False and said.came_to",
        "a part goes on that had been refused its lock",
    ),
    Mutant(
        "gives the lock of a part that is kept to others",
        "recovery/locks.py",
        " and not state.held:\n",
        ":\n",
        "what is to be undone may be changed before",
    ),
    Mutant(
        "names a part after the newest version, whichever it was",
        "recovery/parts.py",
        "            yield one, versioned(name, one)\n",
        "            yield one, versioned(name, list(versions(work.saga))[-1])\n",
        "a part goes on by steps that it never had",
    ),
    Mutant(
        "begins the first attempt again where the second was made",
        REBUILD,
        "    move = _caught_up(move, name, _last(traces, name), now_us)\n",
        "",
        "what the second has done stands when its saga goes back",
    ),
    Mutant(
        "waits for a group that what came after it shows to have ended",
        REBUILD,
        "        past = _past_group if over else _with_child\n",
        "        past = _with_child\n",
        "what came after it is not known, and not undone",
    ),
    Mutant(
        "goes back although it cannot tell why a step was done",
        REBUILD,
        "(unknown := _unknown(move.state, traces)) and _final(traces) is None:\n",
        "(unknown := _unknown(move.state, traces)) and _final(traces) is not None:\n",
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
        FAMILIES,
        "if not isinstance(one, ChildBegan | WaitBegan)]\n",
        "if not isinstance(one, ChildBegan)]\n",
        "nobody is told of the event",
    ),
    Mutant(
        "presumes abort of what has committed",
        ATOMIC,
        PROVED,
        "    if Sent.COMMIT in traces.sent:",
        "a branch that has committed proves the decision",
    ),
    Mutant(
        "presumes abort of what is told to commit",
        ATOMIC,
        PROVED,
        "    if COMMITTED in traces.branches.values():",
        "a commit that is on its way proves the decision",
    ),
    Mutant(
        "presumes commit where all are prepared",
        ATOMIC,
        PROVED,
        "    if traces.branches and set(traces.branches.values()) <= {PREPARED, COMMITTED}:",
        "nobody has heard of a commit, and a rollback may be on its way",
    ),
    Mutant(
        "has read-only branches commit",
        ATOMIC,
        "    return tuple(name for name in state.definition.branches if name in held)",
        "    return tuple(state.definition.branches)",
        "a branch without a trace has nothing to commit",
    ),
    Mutant(
        "has branches commit that are rolled back",
        ATOMIC,
        "if seen in (PREPARED, COMMITTED)}",
        "if seen}",
        "a late copy of a Prepare rolls back a branch that has only read",
    ),
    Mutant(
        "decides for a branch that is alone",
        ATOMIC,
        "    if told is None and len(state.definition.branches) == 1:",
        "    if told is not None and len(state.definition.branches) == 0:",
        "a lone branch decides, and may be about to",
    ),
    Mutant(
        "goes on with a saga that was told to go back",
        REBUILD,
        "    return back or undone or revoked or came_back or Sent.UNDO in traces.sent\n",
        "    return back or undone or revoked or came_back\n",
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
        "    if told is not None and final is not None:\n",
        "    if told is not None and final is None:\n",
        "what was told stands",
    ),
    Mutant(
        "begins anew what was begun and sent",
        PAGE,
        "            if traces:\n",
        "            if traces.branches or traces.steps or traces.told:\n",
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
