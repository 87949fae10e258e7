"""Bugs around sagas that are moved to another version."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

MOVES: Final = (
    Mutant(
        "begins anew what has begun when it is moved",
        "coordinator/core/saga_state.py",
        "            name: self.steps[name] if self.has_begun(name) else StepState()"
        " for name in new.steps\n",
        "            name: StepState() for name in new.steps\n",
        "what was to be undone stands, and the saga ends as if it had never been",
    ),
    Mutant(
        "takes what was refused for never asked",
        "coordinator/core/saga_state.py",
        "        unasked = state.phase is StepPhase.REFUSED and not state.said_no\n",
        "        unasked = state.phase is StepPhase.REFUSED\n",
        "the participant remembers its no, and the saga is parked again",
    ),
    Mutant(
        "asks for something else where nobody knows",
        "coordinator/core/moving.py",
        "    Standing.ASKED: (_same_call, _same_data, _still_asked, _way_back),\n",
        "    Standing.ASKED: (_same_call, _still_asked, _way_back),\n",
        "what was done is not what the new version takes it for",
    ),
    Mutant(
        "passes by what may have been done",
        "coordinator/core/moving.py",
        '    return "" if asked else f"{pair.version} would not ask for it again"\n',
        '    return ""\n',
        "nobody undoes what was done, and the saga says that nothing was",
    ),
    Mutant(
        "lets what is done be many",
        "coordinator/core/moving.py",
        "    if new.each is not None:  # of the whole",
        "    if False:  # of the whole",
        "going back passes by it, and it stands",
    ),
    Mutant(
        "lets a new step come before what has begun",
        "coordinator/core/moving.py",
        "            if not over:\n",
        "            if not over and back:\n",
        "a step has been done without what it needs",
    ),
    Mutant(
        "lets what is built on another step forget it",
        "coordinator/core/moving.py",
        "        if name in effects and built[0] != built[1]:\n",
        "        if name in effects and built[0] < built[1]:\n",
        "it is undone while something stands that was built on it",
    ),
    Mutant(
        "forgets at a takeover to what a saga was moved",
        "coordinator/recall.py",
        "entries, versions[1:] and versions)\n",
        "entries)\n",
        "nobody can own the shard any more",
    ),
    Mutant(
        "leaves the row of what is moved at its old version",
        "coordinator/work.py",
        "            moved = machine.moved_to(live.state)\n",
        "            moved = None\n",
        "people count it among those that follow the old one",
    ),
)
