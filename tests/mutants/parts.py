"""Bugs around sagas that are steps of others."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

PARTS: Final = (
    Mutant(
        "sends all that a saga asks for at once",
        "coordinator/core/transition.py",
        "        return len(self.sends) + len(self.errands) >= PORTION\n",
        "        return False\n",
        "a gigabyte is in memory",
    ),
    Mutant(
        "forgets what did not leave with the first portion",
        "coordinator/core/saga.py",
        "    if not _is_asked(saga, step, state):\n        return state.since_us\n",
        "    if not _is_asked(saga, step, state):\n        return None\n",
        "a step is asked by nobody until something else happens",
    ),
    Mutant(
        "keeps no part that is done",
        "coordinator/core/saga_state.py",
        "        return committed and bool(self.begun.parent) and not self.let_go\n",
        "        return False\n",
        "what its saga takes back stands for good",
    ),
    Mutant(
        "keeps parts for ever",
        "coordinator/core/children.py",
        "                yield Dismiss(one.child.gid)\n",
        "                continue\n",
        "a part is in memory, with its locks, long after its saga has ended",
    ),
    Mutant(
        "lets a part change what a person has said",
        "coordinator/core/saga_state.py",
        "        data = state.data if child.undoing or state.phase in OVER else record.data\n",
        "        data = state.data if child.undoing else record.data\n",
        "what was asked for by that word counts as never asked, and is not undone",
    ),
    Mutant(
        "begins what could not be taken back",
        "coordinator/core/children.py",
        "    if found.pivot is not None and",
        "    if found.pivot is not None and found.pivot.undo is not None and",
        "a saga goes back, and its part does not",
    ),
    Mutant(
        "lets a part go on that was revoked while it was parked",
        "coordinator/core/children.py",
        "        yield Heed()\n",
        "        pass\n",
        "a person lets it do all that its saga has turned back from",
    ),
    Mutant(
        "lets a part end by a person's word that was revoked meanwhile",
        "coordinator/core/children.py",
        "goes_on and (not over or state.held):\n",
        "goes_on and not over:\n",
        "it stands, and its saga, which goes back, is parked as well",
    ),
    Mutant(
        "lets a child begin that is not wanted any more",
        "coordinator/errands.py",
        "        if children.has(parent.state, spawn):\n",
        "        if True:\n",
        "what nobody will take back",
    ),
)
