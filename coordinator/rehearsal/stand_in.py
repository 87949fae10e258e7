"""Who stands in for a saga that is a step of the one that is rehearsed.

Only its name is known. So it is played as a saga of one step, which bears the
name of that step: what is scripted for the step happens in it.
"""

from __future__ import annotations

from typing import Final

from sagas.model import Call, OnUnknown, Retry, Saga, Start, Step, Undo

TIMEOUT_US: Final = 30_000_000
DEADLINE_US: Final = 3_600_000_000


def stand_in(step: str, saga: str) -> Saga:
    """Make a saga that does what a step is scripted to do, and undoes it."""
    retry = Retry(attempts=5, first_us=1_000_000, factor=2, max_us=60_000_000)
    undo = Undo(work=Call(saga, "undo"), data=None, timeout_us=TIMEOUT_US, retry=retry)
    only = Step(
        name=step,
        needs=(),
        condition=None,
        work=Call(saga, "do"),
        data=lambda scope: scope["input"],
        key=None,
        timeout_us=TIMEOUT_US,
        retry=retry,
        on_unknown=OnUnknown.RETRY,
        undo=undo,
        pivot=False,
    )
    return Saga(
        name=saga,
        version=0,
        hash="",
        source="",
        start=Start(topic=None, when=None, key=None),
        check_input=lambda _input: None,
        output=lambda scope: scope["steps"][step],
        deadline_us=DEADLINE_US,
        steps={step: only},
        dependents={step: ()},
    )
