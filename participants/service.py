"""One participant at work: its commands, its database, its answers.

Steps are taken in batches, one at a time: what arrives while one is at work
is the next. Branches run side by side, as many as there are lanes.

While the database is away, nothing is dropped and nothing is answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from participants import step, telemetry
from participants.app import Participant
from participants.backlog import Backlog, Job
from participants.barrier import Item, run_batch
from participants.branch import Answer, Asked
from participants.calls import Call
from participants.connections import Connections, DatabaseAway
from participants.heart import Load
from participants.postgres import Branches, NoSlot
from participants.watermark import Place
from wire import failpoints
from wire.messages import (
    Commit,
    Compensate,
    Compensated,
    End,
    Execute,
    Executed,
    Prepare,
    Reply,
    Rollback,
    Settled,
    Vote,
    Voted,
)

logger = structlog.get_logger(__name__)

BATCH_LIMIT: Final = 128
"""Steps in one transaction. Larger crowds make coordinator and participants wait in turn."""

CROWD: Final = 4 * BATCH_LIMIT
"""Steps that wait, before no more are read."""

PREPARES_WAITING: Final = 512
"""Prepares that wait for a lane or a slot, before more are told to come later."""

SLOT_SECONDS: Final = 0.05
"""How long a prepare waits for a slot before it tries again, unless one is given back here."""

SLOT_TRIES: Final = 40
"""How often it finds none, before its coordinator is told."""

AWAY_FIRST_SECONDS: Final = 0.1
AWAY_MOST_SECONDS: Final = 5.0
STRIKES: Final = 3
"""How often a command may lose its connection, with the database there, before it is set aside."""

Spawn = Callable[[Coroutine[Any, Any, None]], Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a command came from, and what travels around it."""

    place: Place
    offset: int
    traceparent: str | None = None
    processing: telemetry.Processing | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, or silence, and the commands that it answers."""

    reply: Reply | None
    traceparent: str | None
    sources: Sequence[tuple[Place, int]]
    problem: str = ""


class Service:
    """A participant that is running. It lasts for one session with Kafka."""

    def __init__(
        self,
        participant: Participant,
        connections: Connections,
        branches: Branches,
        *,
        held_limit: int,
        slots: int = 0,
        spawn: Spawn,
        tell: Callable[[Told], None],
    ) -> None:
        self.participant, self.connections, self.branches = participant, connections, branches
        self._spawn, self._tell = spawn, tell
        self._held_limit, self._slots = held_limit, slots
        self._backlog = Backlog(
            lanes=participant.connections - 1,  # one is for steps and the resolver
            held_limit=held_limit,
            waiting_limit=PREPARES_WAITING,
        )
        self._steps: deque[tuple[Execute | Compensate, Source]] = deque()
        self._stepping = False
        self._widening = False
        self._closing = False
        self._crowded = False

    # ── what comes in ────────────────────────────────────────────────────────

    def take_step(self, message: Execute | Compensate, source: Source) -> None:
        """Queue a command of a saga."""
        self._steps.append((message, source))
        if not self._stepping and not self._closing:
            self._stepping = True
            self._spawn(self._work_off_steps())

    def take_branch(
        self, message: Prepare | Commit | Rollback, source: Source, *, late: bool
    ) -> None:
        """Queue a command of an atomic transaction."""
        job = Job(
            message,
            late=late,
            traceparent=source.traceparent,
            tag=source.processing,
            sources=[(source.place, source.offset)],
            generation=source.generation,
        )
        queued = self._backlog.add(job, held=job.name in self.branches.held)
        if queued is None:
            self._tell_branch(job, Answer(Vote.BUSY, reason="too many branches are waiting"))
        elif queued is not job:
            _end(job.tag, "joined", "")
        else:
            self.pump()

    def pump(self) -> None:
        """Start what may run now."""
        while not self._closing and (job := self._backlog.take(len(self.branches.held))):
            self._spawn(self._do_branch(job))

    def close(self) -> None:
        """Start nothing new. What waits stays unanswered, and will be read again."""
        self._closing = True

    @property
    def at_work(self) -> bool:
        return self._stepping or self._backlog.unfinished > self._backlog.waiting

    @property
    def load(self) -> Load:
        """What waits here, and what it can bear."""
        return Load(
            steps_waiting=len(self._steps),
            prepares_waiting=self._backlog.prepares_waiting,
            branches_held=len(self.branches.held),
            held_limit=self._held_limit if self.participant.branches else 0,
            slots=self._slots,
        )

    @property
    def crowded(self) -> bool:
        """Whether steps pile up. Branches never do so: they are told to come later."""
        limit = CROWD // 2 if self._crowded else CROWD
        self._crowded = len(self._steps) > limit
        return self._crowded

    # ── steps ────────────────────────────────────────────────────────────────

    async def _work_off_steps(self) -> None:
        while self._steps and not self._closing:
            batch = [self._steps.popleft() for _ in range(min(len(self._steps), BATCH_LIMIT))]
            await self._do_steps(batch)
        self._stepping = False

    async def _do_steps(self, batch: Sequence[tuple[Execute | Compensate, Source]]) -> None:
        items = [_item(message, source) for message, source in batch]
        strikes = 0
        for pause in _pauses():
            try:
                replies = await run_batch(self.connections, items, self.participant)
            except DatabaseAway as away:
                strikes += await self._was_there(away)
            except Exception:  # a bug, ours or a handler's: these commands must not stop the others
                logger.exception("steps_failed", participant=self.participant.name)
                strikes = STRIKES
            else:
                for (message, source), reply in zip(batch, replies, strict=True):
                    self._tell_step(message, source, reply)
                return
            if strikes >= STRIKES:
                await self._set_aside(batch)
                return
            await asyncio.sleep(pause)

    async def _set_aside(self, batch: Sequence[tuple[Execute | Compensate, Source]]) -> None:
        """Find the command that cannot be borne. It gets no answer, for nobody knows one."""
        if len(batch) > 1:
            for one in batch:
                await self._do_steps([one])
            return
        message, source = batch[0]
        _end(source.processing, "failed", "set aside")
        self._tell(
            Told(
                None,
                source.traceparent,
                [(source.place, source.offset)],
                f"{message.step} could not be carried out, and may or may not have been done",
            )
        )

    def _tell_step(
        self, message: Execute | Compensate, source: Source, reply: step.Reply | None
    ) -> None:
        sources = [(source.place, source.offset)]
        if reply is None:
            _end(source.processing, "silent", "")
            self._tell(Told(None, source.traceparent, sources))
            return
        _end(source.processing, reply.result, reply.reason)
        said: Reply
        if isinstance(message, Execute):
            said = Executed(
                gid=message.gid,
                step=message.step,
                attempt=message.attempt,
                result=reply.result,
                data=reply.data,
                reason=reply.reason,
            )
        else:
            said = Compensated(
                gid=message.gid,
                step=message.step,
                attempt=message.attempt,
                result=reply.result,
                undone=reply.undone,
                reason=reply.reason,
            )
        self._tell(Told(said, source.traceparent, sources))

    # ── branches ─────────────────────────────────────────────────────────────

    async def _do_branch(self, job: Job) -> None:
        try:
            await self._answer_branch(job)
        except NoSlot:
            self._backlog.put_back(job, len(self.branches.held))
            if not self._widening:
                self._widening = True
                self._spawn(self._widen())
        else:
            self._backlog.done(job)
        self.pump()

    async def _widen(self) -> None:
        """Try one more after the other, until as many fit as should."""
        while self._backlog.narrow and not self._closing:
            await asyncio.sleep(SLOT_SECONDS)
            self._backlog.widen()
            self.pump()
        self._widening = False

    async def _answer_branch(self, job: Job) -> None:
        strikes = 0
        for pause in _pauses():
            try:
                answer = await self._ask_database(job)
            except DatabaseAway as away:
                strikes += await self._was_there(away)
            except NoSlot as scarce:
                if job.without_slot < SLOT_TRIES:
                    raise
                self._tell_branch(job, Answer(Vote.BUSY, reason=str(scarce)))
                return
            except Exception:  # a bug, ours or a handler's: this branch must not stop the others
                logger.exception("branch_failed", gid=job.message.gid, branch=job.message.branch)
                strikes = STRIKES
            else:
                self._tell_branch(job, answer)
                return
            if strikes >= STRIKES:
                _end(job.tag, "failed", "set aside")
                problem = f"{job.message.branch} could not be carried out"
                self._tell(Told(None, job.traceparent, job.sources, problem))
                return
            await asyncio.sleep(pause)

    async def _ask_database(self, job: Job) -> Answer | None:
        message = job.message
        match message:
            case Prepare():
                call = Call(message.gid, message.branch, message.command, message.data)
                with telemetry.active(job.tag):
                    return await self.branches.prepare(
                        call,
                        self.participant.work,
                        alone=message.one_phase,
                        late=job.late,
                        generation=job.generation,
                    )
            case Commit():
                asked = Asked.COMMIT
            case Rollback():
                asked = Asked.ROLLBACK
        return await self.branches.settle(
            message.gid, message.branch, asked, generation=job.generation
        )

    def _tell_branch(self, job: Job, answer: Answer | None) -> None:
        gid, branch = job.message.gid, job.message.branch
        said: Reply | None = None
        match answer:
            case Answer(Vote() as vote, data, reason):
                said = Voted(gid=gid, branch=branch, vote=vote, data=data, reason=reason)
                if vote is Vote.COMMIT:
                    failpoints.hit("P4")
            case Answer(End() as end, _, reason):
                said = Settled(gid=gid, branch=branch, end=end, reason=reason)
                if end is not End.COMMITTED and end is not End.ROLLED_BACK:
                    logger.error("branch_hazard", gid=gid, branch=branch, reason=reason)
            case _:
                logger.warning("branch_unanswered", gid=gid, branch=branch)
        result = "silent" if answer is None else str(answer.answer)
        _end(job.tag, result, answer.reason if answer else "")
        self._tell(Told(said, job.traceparent, job.sources))

    async def _was_there(self, away: DatabaseAway) -> bool:
        """Tell whether the database is there after all, so that a command may be at fault."""
        logger.warning("database_away", participant=self.participant.name, reason=str(away))
        try:
            async with self.connections.one() as connection:
                await connection.execute("SELECT 1")
        except DatabaseAway:
            return False
        return True


def _item(message: Execute | Compensate, source: Source) -> Item:
    asked = step.Asked.EXECUTE if isinstance(message, Execute) else step.Asked.COMPENSATE
    call = Call(
        message.gid, message.step, message.command, message.data, message.attempt, message.result
    )
    return Item(asked, call, source.processing, source.generation)


def _pauses() -> Any:
    pause = AWAY_FIRST_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, AWAY_MOST_SECONDS)


def _end(processing: telemetry.Processing | None, result: str, reason: str) -> None:
    if processing is not None:
        processing.end(result, reason)
