"""Bugs around what waits for long."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

WAITING: Final = (
    Mutant(
        "sleeps while it is being answered",
        "coordinator/core/machine.py",
        "    if not told.active or state.begun.parent or machine.expects_answers(state):\n",
        "    if not told.active or state.begun.parent:\n",
        "the time of what was asked counts anew, and every answer reads the log",
    ),
    Mutant(
        "takes news for a look into the box",
        "coordinator/core/arrivals.py",
        "    if asked is None or event.told:",
        "    if asked is None:",
        "who was told of an earlier wait sleeps before its own look, and dies in between",
    ),
    Mutant(
        "reads no sleeper again",
        "coordinator/engine.py",
        "        await self._rouse()\n",
        "",
        "what sleeps is woken by nothing but a message",
    ),
    Mutant(
        "forgets before the log says that it sleeps",
        "coordinator/turn.py",
        "            self.work.rested.append(Rested(live.gid, live.shard, live.next_seq))\n",
        "            self._holdings.forget(live)\n",
        "what comes meanwhile finds it neither in memory nor in the log",
    ),
    Mutant(
        "forgets who has gone on since",
        "coordinator/turn.py",
        "live.next_seq == rested.next_seq and not live.summary.active",
        "live.next_seq >= rested.next_seq",
        "what was woken while its sleep was written is in nobody's memory",
    ),
    Mutant(
        "takes who sleeps for told",
        "coordinator/recall.py",
        "        if machine.summary(state).status is not Status.OPEN:\n",
        "        if machine.summary(state):\n",
        "the outcome of what was woken is never told",
    ),
    Mutant(
        "does not hear answers to who sleeps",
        "coordinator/looking_up.py",
        "        known.records |= _by_gid(await log.asleep(strays))\n",
        "        strays.clear()\n",
        "a late answer is lost, and its step is done twice or given up",
    ),
)
