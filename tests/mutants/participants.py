"""Bugs of participants: what they do, and what they claim to have done."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

BRANCH: Final = "participants/branch.py"
STEP: Final = "participants/step.py"
BARRIER: Final = "participants/barrier.py"
POSTGRES: Final = "participants/postgres.py"
WATERMARK: Final = "participants/watermark.py"
GENERATIONS: Final = "participants/generations.py"
BACKLOG: Final = "participants/backlog.py"

PARTICIPANTS: Final = (
    # ── branches ─────────────────────────────────────────────────────────────
    Mutant(
        "asks about the oldest branches alone",
        "participants/resolver.py",
        "        self._turn = first + INQUIRIES\n        asked = due[first : self._turn]\n",
        "        asked = due[:INQUIRIES]\n",
        "a hundred of which nobody knows keep all others in doubt",
    ),
    Mutant(
        "rolls back without a mark",
        BRANCH,
        'Rule(_D.MARK, End.ROLLED_BACK, "a later Prepare is now refused")',
        'Rule(_D.NOTHING, End.ROLLED_BACK, "a later Prepare is now refused")',
        "the rollback that came first protects nothing (gpdb#10393)",
    ),
    Mutant(
        "does not mark what it has rolled back",
        BRANCH,
        "        _D.ROLL_BACK_PREPARED, None, ",
        "        _D.ROLL_BACK_PREPARED, End.ROLLED_BACK, ",
        "the participant proves: a late Prepare does it again",
    ),
    Mutant(
        "leaves no mark of its no",
        BRANCH,
        '    (_A.PREPARE, Came.REFUSED): Rule(_D.MARK, Vote.ABORT, "a no',
        '    (_A.PREPARE, Came.REFUSED): Rule(_D.DISCARD, Vote.ABORT, "a no',
        "a no is for good",
    ),
    Mutant(
        "says yes to what was rolled back",
        BRANCH,
        '    (_S.ROLLED_BACK, _A.PREPARE): Rule(_D.NOTHING, Vote.ABORT, "it was',
        '    (_S.ROLLED_BACK, _A.PREPARE): Rule(_D.NOTHING, Vote.COMMIT, "it was',
        "what a cancel has blocked returns success (dtm#453)",
    ),
    Mutant(
        "gives up a yes that is late",
        BRANCH,
        '        _D.NOTHING, Vote.COMMIT, "prepared in time: its yes binds it"\n',
        '        _D.ROLL_BACK_PREPARED, Vote.ABORT, "prepared in time: its yes binds it"\n',
        "a yes binds",
    ),
    Mutant(
        "commits what it had promised to hold",
        BRANCH,
        '        _D.NOTHING, Vote.COMMIT, "prepared already, so only a decision may commit it"\n',
        "        _D.COMMIT_PREPARED, Vote.COMMITTED,"
        ' "prepared already, so only a decision may commit it"\n',
        "a yes binds",
    ),
    Mutant(
        "says rolled back of what has committed",
        BRANCH,
        '        _D.NOTHING, End.COMMITTED, "it has committed, in one phase',
        '        _D.NOTHING, End.ROLLED_BACK, "it has committed, in one phase',
        "reported aborted, and it has committed by itself",
    ),
    Mutant(
        "takes not found for committed",
        BRANCH,
        """        _D.NOTHING,
        End.HAZARD,
        "neither prepared""",
        """        _D.NOTHING,
        End.COMMITTED,
        "neither prepared""",
        "not found is never proof: what somebody ended by hand is reported as committed",
    ),
    Mutant(
        "votes before it is prepared",
        BRANCH,
        "    (_A.PREPARE, Came.DONE): Rule(_D.PREPARE, Vote.COMMIT, ",
        "    (_A.PREPARE, Came.DONE): Rule(_D.DISCARD, Vote.COMMIT, ",
        "the participant proves: a yes that no database holds",
    ),
    Mutant(
        "looks in the wrong order",
        POSTGRES,
        """        prepared = await self._connection.fetchrow(PREPARED, self._name)
        marker = await self._connection.fetchrow(MARKER, self._gid, self._branch)
""",
        """        marker = await self._connection.fetchrow(MARKER, self._gid, self._branch)
        prepared = await self._connection.fetchrow(PREPARED, self._name)
""",
        "a commit in between looks like nothing at all",
    ),
    # ── steps ────────────────────────────────────────────────────────────────
    Mutant(
        "keeps no answer",
        STEP,
        '    (_S.DONE, _A.EXECUTE): Rule(Do.NOTHING, Result.DONE, "done already',
        '    (_S.DONE, _A.EXECUTE): Rule(Do.RUN, None, "done already',
        "the participant proves: a repeated command is a repeated effect",
    ),
    Mutant(
        "seals nothing",
        STEP,
        '    (_S.FRESH, _A.COMPENSATE): Rule(Do.SEAL, Result.DONE, "never',
        '    (_S.FRESH, _A.COMPENSATE): Rule(Do.NOTHING, Result.DONE, "never',
        "a step that comes after its undo takes effect",
    ),
    Mutant(
        "says done of what is sealed",
        STEP,
        '    (_S.SEALED, _A.EXECUTE): Rule(Do.NOTHING, Result.REFUSED, "its',
        '    (_S.SEALED, _A.EXECUTE): Rule(Do.NOTHING, Result.DONE, "its',
        "a step that its undo has blocked returns success (dtm#453)",
    ),
    Mutant(
        "undoes twice",
        STEP,
        "    (_S.UNDONE, _A.COMPENSATE): Rule(\n"
        '        Do.NOTHING, Result.DONE, "undone already: told again", undone=True\n    ),\n',
        '    (_S.UNDONE, _A.COMPENSATE): Rule(Do.UNDO, None, "undone already"),\n',
        "a repeated undo is a repeated effect",
    ),
    Mutant(
        "leaves no mark of a refusal",
        STEP,
        "            return Entry(Status.REFUSED, reason=reply.reason)\n",
        "            return entry\n",
        "a late copy succeeds after the saga went on without it (seata#6374)",
    ),
    Mutant(
        "leaves no mark of an undo",
        STEP,
        "            return Entry(Status.UNDONE, entry.data)\n",
        "            return Entry()\n",
        "what was undone can be done again",
    ),
    Mutant(
        "marks what it did not do",
        STEP,
        "        case (Asked.EXECUTE, Result.DONE):\n",
        "        case (Asked.EXECUTE, Result.DONE | Result.FAILED):\n",
        "the mark before the effect: the retry does nothing (NServiceBus#5557)",
    ),
    Mutant(
        "does not write what its handlers said",
        BARRIER,
        "    await ledger.write()\n",
        "",
        "the mark and the effect part: a refusal is remembered as done",
    ),
    Mutant(
        "goes on outside the transaction",
        BARRIER,
        "            if not performed.clean or not self._connection.is_in_transaction():\n",
        "            if not performed.clean:\n",
        "a handler has ended it: what others of the batch do then has no mark",
    ),
    Mutant(
        "lets a handler commit undos of others",
        BARRIER,
        "        if bare:  # new rows are guarded as they are\n",
        "        if False:\n",
        "what is undone has no mark, and is undone once more",
    ),
    # ── the backlog ──────────────────────────────────────────────────────────
    Mutant(
        "forgets that slots come back",
        BACKLOG,
        "        self._fit = min(self._fit + 1, self._held_limit)\n",
        "        return\n",
        "one moment without slots, and no branch is ever prepared here again",
    ),
    Mutant(
        "keeps the lane of a prepare that got no slot",
        BACKLOG,
        "        self._free += 1\n        self._preparing -= 1\n        job.prepares = False\n",
        "        job.prepares = False\n",
        "after a few of them decisions find no lane either",
    ),
    # ── the session ──────────────────────────────────────────────────────────
    Mutant(
        "moves past what is unfinished",
        WATERMARK,
        "            offset = min(self._open.get(place, ()), default=following)\n",
        "            offset = following\n",
        "a command is read, its process dies, and nobody reads it again",
    ),
    # ── generations ──────────────────────────────────────────────────────────
    Mutant(
        "obeys a log that is no more",
        GENERATIONS,
        "        if generation < self._known(shard):",
        "        if generation < FIRST:",
        "a coordinator of the lost log wakes up, and commits what a recovery has aborted",
    ),
    Mutant(
        "does not ask what its database remembers",
        GENERATIONS,
        "            self._highest[shard] = max(generation, self._known(shard))",
        "            del shard, generation",
        "a process that has heard nothing since the recovery obeys the lost log",
    ),
    Mutant(
        "takes what it has just heard for the highest",
        GENERATIONS,
        "            await self.learn(connection)\n        if",
        "            self._highest[shard] = generation\n        if",
        "others have heard of a higher one, and nothing was written",
    ),
)
