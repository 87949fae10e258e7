"""Bugs around the machines: the engine, its turn, its holdings, ownership, and the log."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

ENGINE: Final = "coordinator/engine.py"
TURN: Final = "coordinator/turn.py"
HOLDINGS: Final = "coordinator/holdings.py"
SHARDS: Final = "coordinator/shards.py"
MEMORY: Final = "coordinator/log/memory.py"

SHELL: Final = (
    Mutant(
        "refuses a later attempt that is too large",
        "coordinator/core/unsent.py",
        "    if event.attempt > 1:\n        failed",
        "    if event.attempt < 1:\n        failed",
        "what an earlier attempt has done is not undone",
    ),
    Mutant(
        "takes what was never sent for refused",
        "coordinator/core/unsent.py",
        "now_us, asked=False)",
        "now_us)",
        "nobody has said no, and a version that asks with less is refused",
    ),
    Mutant(
        "takes what was not sent once more for not undone",
        "coordinator/core/unsent.py",
        "Unanswered.SILENT if event.attempt > 1 else Unanswered.FAILED",
        "Unanswered.FAILED",
        "it may be undone already, and is undone otherwise",
    ),
    # ── the engine ───────────────────────────────────────────────────────────
    Mutant(
        "tells before it is durable",
        ENGINE,
        """        counted = await self._persist(work)
        _crash(work.crash_points_after)
""",
        """        await self._send(work.to_send(work.positions.keys()), work.crash_points_amid)
        counted = await self._persist(work)
        _crash(work.crash_points_after)
        work.outgoing.clear()
""",
        "decide, persist, send: a decision is heard that the log may never hold",
    ),
    Mutant(
        "forgets what is decided and waits for company",
        ENGINE,
        "turn.work = self._work  # what",
        "self._work = turn.work  # what",
        "a fact that is missing in the log: replay(log) is not the state",
    ),
    Mutant(
        "sends what did not count",
        ENGINE,
        "await self._send(work.to_send(counted), ",
        "await self._send(work.to_send(work.positions.keys()), ",
        "a deposed owner drives phase two (seata#1841)",
    ),
    Mutant(
        "takes a failed write for a success",
        ENGINE,
        "        counted = await self._persist(work)\n",
        # To swallow what went wrong is the bug that is planted.
        """        try:
            counted = await self._persist(work)
        except Exception:
            counted = frozenset(work.positions)
""",
        "an ambiguous commit is guessed, not read again",
    ),
    Mutant(
        "reloads nothing at a takeover",
        ENGINE,
        "enumerate(awake(entries, self._setting.definitions)):\n",
        "enumerate(awake([], self._setting.definitions)):\n",
        "what was unfinished is forgotten (narayana#1369)",
    ),
    Mutant(
        "resumes nothing at a takeover",
        ENGINE,
        "            self._resumed.append(live)\n",
        "",
        "recovered, and not gone on with (dbos-transact-py#804)",
    ),
    Mutant(
        "takes an outcome for told that was not",
        ENGINE,
        """                raise KafkaUnavailable(f"not acknowledged: {error!r}") from error
""",
        "                continue\n",
        "a transaction ends though nobody heard of it",
    ),
    Mutant(
        "notes what is told before what has come",
        ENGINE,
        """        for record in received:
            turn.receive(record)
        # After what has come: to be told may be to be forgotten, and a start
        # that is repeated here was looked up before its first was in the log.
        while self._told:
            turn.told(self._told.popleft())
""",
        """        while self._told:
            turn.told(self._told.popleft())
        for record in received:
            turn.receive(record)
""",
        "a repeated start begins a second transaction",
    ),
    # ── the turn ─────────────────────────────────────────────────────────────
    Mutant(
        "buries an order whose transaction has ended in the same turn",
        TURN,
        " or self._called_back(order.gid)\n",
        "\n",
        "what a person has said is lost, and the reason for it is a lie",
    ),
    Mutant(
        "ends by a second door",
        TURN,
        "            self._react(live, Published())\n",
        "            self._holdings.forget(live)\n",
        "one door: told is not an event, so the log never says that it ended",
    ),
    Mutant(
        "ends as soon as any outcome is told",
        TURN,
        " and live.state.tell_at_us == telling.again_us:",
        ":",
        "that it was parked counts for how it ended, which nobody may ever hear",
    ),
    Mutant(
        "forgets starts that have ended",
        TURN,
        "self._holdings.starts.get(place) or self._known.starts.get(place)",
        "self._holdings.starts.get(place)",
        "one transaction for one key: the log is not asked",
    ),
    Mutant(
        "takes another input for the same start",
        TURN,
        "            if before.input_hash != digest:\n",
        "            if before.input_hash == digest + digest:\n",
        "another input under the same key is dropped in silence",
    ),
    Mutant(
        "answers the undecided with a rollback",
        TURN,
        """        if decision is None:
            return
""",
        """        if decision is None:
            decision = Decision.ABORT
""",
        "what is prepared is rolled back behind its owner's back (citus#1030, JBTM-3079)",
    ),
    Mutant(
        "chokes on what makes no sense",
        TURN,
        "        except (Unreadable, Nonsense) as error:",
        "        except Nonsense as error:",
        "one unreadable message blocks its shard for ever",
    ),
    Mutant(
        "never shows that it has ended",
        TURN,
        "        if summary == live.summary:\n",
        "        if summary == live.summary or not summary.active:\n",
        "the row stays open, so every takeover begins with all that ever was",
    ),
    Mutant(
        "obeys the same order twice",
        TURN,
        "            live.orders.add(order.id)\n",
        "",
        "a person orders once, and a message comes twice",
    ),
    Mutant(
        "forgets at a takeover what was ordered",
        "coordinator/recall.py",
        "        orders=ordered,\n",
        "        orders=ordered - ordered,\n",
        "a person orders once, and the next owner obeys again",
    ),
    # ── memory and timers ────────────────────────────────────────────────────
    Mutant(
        "keeps the first timer only",
        HOLDINGS,
        "        if wake_us != live.wake_us:\n",
        "        if live.wake_us is None:\n",
        "a timer that is set anew is not there (temporal#11869)",
    ),
    Mutant(
        "loses a timer that was taken",
        HOLDINGS,
        "            live.wake_us = None\n            limit -= 1\n",
        "            limit -= 1\n",
        "woken for the last time (conductor#1133)",
    ),
    Mutant(
        "forgets timers that rest",
        HOLDINGS,
        "                resting.append((at_us, gid))\n",
        "",
        "what is due while the backlog is read is never woken",
    ),
    Mutant(
        "wakes before the backlog is read",
        HOLDINGS,
        "        return self.replies_offset >= self.replies_target\n",
        "        return self.replies_offset >= 0\n",
        "a timer fires though the answer is there already",
    ),
    # ── back-pressure ────────────────────────────────────────────────────────
    Mutant(
        "is never crowded",
        HOLDINGS,
        "if len(one.gids) - len(one.parts) >= self._crowd]",
        "if len(one.gids) < 0]",
        "more is begun than one process can hold",
    ),
    Mutant(
        "leaves the answers of a crowded shard as well",
        ENGINE,
        "        self._reader.leave((requests, shard) for shard in self._holdings.crowded)\n",
        """        replies = self._setting.topics.replies
        self._reader.leave(
            (topic, shard) for topic in (requests, replies) for shard in self._holdings.crowded
        )
""",
        "a crowded shard waits for what it does not read",
    ),
    Mutant(
        "moves past the starts that it leaves",
        TURN,
        "            shard.requests_offset = received.offset + 1\n",
        "            shard.requests_offset = received.offset + 1 + bool(self._holdings.crowded)\n",
        "a start is lost because too much is going on",
    ),
    # ── ownership ────────────────────────────────────────────────────────────
    Mutant(
        "claims no lease that is its own",
        SHARDS,
        "        left = census.mine - held\n",
        "        left = frozenset[int]()\n",
        "after a failure nobody owns the shard (temporal#7101)",
    ),
    Mutant(
        "does not notice that a lease is lost",
        SHARDS,
        "        if lost := held - census.mine:\n",
        "        if lost := frozenset[int]():\n",
        "ownership is a row: the fence must do without this",
    ),
    # ── the log ──────────────────────────────────────────────────────────────
    Mutant(
        "has no fence",
        MEMORY,
        "if self._epoch(p.shard) == p.epoch]",
        "if self._epoch(p.shard) is not None]",
        "ownership is a row: a deposed owner writes",
    ),
    Mutant(
        "raises no epoch",
        MEMORY,
        "held._replace(epoch=held.epoch + 1)",
        "held._replace(epoch=max(held.epoch, 1))",
        "ownership is a row: two owners hold the same epoch",
    ),
    Mutant(
        "fences offsets only",
        MEMORY,
        "entries = [entry for shard, entry in batch.entries if shard in mine]",
        "entries = [entry for _, entry in batch.entries]",
        "the records of a deposed owner are written",
    ),
    Mutant(
        "lets a deposed owner move the offsets",
        MEMORY,
        "self._shards |= {position.shard: position for position in counted}",
        "self._shards |= {position.shard: position for position in batch.positions}",
        "an old epoch comes back (temporal#12016)",
    ),
    Mutant(
        "advances offsets without the records",
        MEMORY,
        """        begun = [row for row in batch.begun if row.shard in mine]
""",
        """        begun = [row for row in batch.begun if row.shard in mine]
        self._shards |= {position.shard: position for position in counted}
        if len(batch.entries) > 3:
            raise LogUnavailable("half a batch")
""",
        "what was read is not what was written (NServiceBus#5557)",
    ),
    Mutant(
        "presumes abort of what it has forgotten",
        MEMORY,
        "if gid in self._rows or born_us(gid) < self._purged_us",
        "if gid in self._rows",
        "a commit record does not outlive its horizon: a restored participant rolls back",
    ),
    Mutant(
        "forgets what has not ended",
        MEMORY,
        "            and row.status is Status.ENDED\n",
        "",
        "what is parked for a person is gone before anybody has looked",
    ),
)
