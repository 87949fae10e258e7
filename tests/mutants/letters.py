"""Bugs around events, people and the clock: what is waited for, and what starts by itself."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_WAITING: Final = "coordinator/core/waiting.py"
_ARRIVALS: Final = "coordinator/core/arrivals.py"
_LETTERBOX: Final = "coordinator/letterbox.py"
_SCHEDULES: Final = "coordinator/schedules.py"

LETTERS: Final = (
    Mutant(
        "counts the time of a wait anew from each takeover",
        _WAITING,
        "    over = state.since_us + work.timeout_us\n",
        "    over = (asked.sent_us if asked else state.since_us) + work.timeout_us\n",
        "who is taken over often enough waits for ever",
    ),
    Mutant(
        "gives up a wait at the moment of its takeover",
        _WAITING,
        "    return max(over, asked.sent_us + GRACE_US)\n",
        "    return over\n",
        "what came in time, while nobody was there to hear it, is not heard",
    ),
    Mutant(
        "stops to wait once it is done, and does not say so",
        _WAITING,
        "topic and state.phase is StepPhase.RUNNING\n",
        "topic\n",
        "who waits for what is never forgotten, and whoever has gone on is told",
    ),
    Mutant(
        "takes null for a key",
        _WAITING,
        "    if value is None:\n",
        "    if value is ...:\n",
        "an event that is about nothing is meant for every saga that lacks the field",
    ),
    Mutant(
        "tells 7 from 7.0",
        _WAITING,
        "    whole = isinstance(value, float) and value.is_integer()\n",
        "    whole = False\n",
        "an event and its saga do not find each other, by how somebody writes numbers",
    ),
    Mutant(
        "takes any event with the right key",
        _ARRIVALS,
        '        return bool(work.match({**scope(saga), "event": letter.event}))\n',
        "        return True\n",
        "the rest of `match` is not asked",
    ),
    Mutant(
        "takes an event of any age",
        _ARRIVALS,
        "    if letter.at_us < saga.began_us - EARLY_US:\n",
        "    if letter.at_us < 0:\n",
        "what was meant for an earlier saga of that key is taken by the next",
    ),
    Mutant(
        "lets any role approve",
        _ARRIVALS,
        "    if roles and order.role not in roles:\n",
        "    if roles and not order.role:\n",
        "whoever asks for a holiday grants it himself",
    ),
    Mutant(
        "takes a no for a yes",
        _ARRIVALS,
        "    return refuse(obeyed(saga, order, now_us), step.name, state.attempt, why, now_us)\n",
        "    return _done(obeyed(saga, order, now_us), step, state, why, now_us)\n",
        "what a person has forbidden is done",
    ),
    Mutant(
        "goes on when the time is up, whatever was said",
        _ARRIVALS,
        "    if work.on_timeout is OnTimeout.CONTINUE:\n",
        "    if work.on_timeout:\n",
        "what was not paid is sent",
    ),
    Mutant(
        "tells who waits before the letter is there",
        _LETTERBOX,
        "    await log.deliver(found)\n    places = {(one.topic, one.key): one for one in found}\n",
        "    places = {(one.topic, one.key): one for one in found}\n",
        "who looks then finds nothing, and nobody tells it again",
    ),
    Mutant(
        "takes an event out of its topic before it is in the box",
        _LETTERBOX,
        "        await self._producer.burst([*buried, *await self._deliver(found)])\n"
        "        await move_past(reader, received)\n",
        "        await move_past(reader, received)\n"
        "        await self._producer.burst([*buried, *await self._deliver(found)])\n",
        "whoever dies in between has lost an event",
    ),
    Mutant(
        "knows what the newest version waits for, and no other",
        _LETTERBOX,
        "        waits = waits_of(self._definitions.all_versions())\n",
        "        waits = waits_of(self._definitions.all_newest())\n",
        "sagas that began before wait for what nobody keeps",
    ),
    Mutant(
        "keeps letters as the last definition says that it read",
        _LETTERBOX,
        "(ways, max(kept_us, lasts_us))",
        "(ways, lasts_us)",
        "an event is thrown away that a longer saga still waits for",
    ),
    Mutant(
        "puts letters into one store",
        _LETTERBOX,
        "        for log in self._logs if found else ():\n",
        "        for log in self._logs[:1] if found else ():\n",
        "sagas of the other stores wait in vain",
    ),
    Mutant(
        "passes an event over that one of its waits cannot read",
        _LETTERBOX,
        "        except EvaluationFailed:\n            continue\n        yield Letter",
        "        except EvaluationFailed:\n            return\n        yield Letter",
        "whether an event is kept for one saga depends upon another definition",
    ),
    Mutant(
        "begins a schedule anew with each version",
        _SCHEDULES,
        "            first = version\n",
        "            break\n",
        "what was due while a new version was published is not started",
    ),
    Mutant(
        "starts by the clock whoever may be missing",
        _SCHEDULES,
        "        return ours.keys() - held.keys()\n",
        "        return {*ours}\n",
        "starts are made that were to be held until somebody is there",
    ),
    Mutant(
        "forgets to write that it waits no more",
        "coordinator/work.py",
        "        for over in before - after:\n",
        "        for over in ():\n",
        "who waits for what is never forgotten, and whoever has gone on is told",
    ),
    Mutant(
        "does not wake who sleeps for its event",
        "coordinator/looking_up.py",
        "    strays = {*answered, *(one.gid for one in arrived)} - orders\n",
        "    strays = answered - orders\n",
        "an event that comes to a sleeper is not heard",
    ),
)
