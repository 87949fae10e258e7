"""What goes wrong by itself, at any time: crashes, pauses, cuts, and shards that change hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.coordinators import Coordinator
from tests.simulation.faults import Fault, Faults

if TYPE_CHECKING:
    from tests.simulation.world import World


class Nemesis:
    """Strikes now and then, until it is told to heal what it has done."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world, self._faults = world, faults
        self._coordinators = len(world.coordinators)

    def strike(self) -> None:
        """Do one tick's worth of harm."""
        for coordinator in tuple(self._world.coordinators):
            if coordinator.process.alive and not coordinator.process.asleep:
                self._harm(coordinator)
        for name in self._world.workers:
            self._harm_participant(name)
        for shard in range(self._world.shards):
            if self._faults.strikes(Fault.LEASE_TAKEN, f"shard {shard}"):
                self._world.log.expire(shard)
        self._publish()

    def _harm(self, coordinator: Coordinator) -> None:
        faults, process, later = self._faults, coordinator.process, self._world.loop.call_later
        if faults.strikes(Fault.COORDINATOR_CRASHED, process.name):
            process.kill()
        elif faults.strikes(Fault.COORDINATOR_STOPPED, process.name):
            coordinator.stop.set()
        elif faults.strikes(Fault.COORDINATOR_PAUSED, process.name):
            process.pause()
            later(faults.between(Fault.COORDINATOR_PAUSED, 0.2, 6), process.resume)
        if faults.strikes(Fault.COORDINATOR_CUT_FROM_LOG, process.name):
            coordinator.cut_from_log = True
            later(
                faults.between(Fault.COORDINATOR_CUT_FROM_LOG, 0.2, 5),
                lambda: setattr(coordinator, "cut_from_log", False),
            )
        if faults.strikes(Fault.COORDINATOR_CUT_FROM_KAFKA, process.name):
            coordinator.cut_from_kafka = True
            later(
                faults.between(Fault.COORDINATOR_CUT_FROM_KAFKA, 0.2, 5),
                lambda: setattr(coordinator, "cut_from_kafka", False),
            )

    def _harm_participant(self, name: str) -> None:
        world, faults = self._world, self._faults
        for process in world.workers[name]:
            if faults.strikes(Fault.PARTICIPANT_CRASHED, process.name):
                process.kill()
            elif faults.strikes(Fault.PARTICIPANT_PAUSED, process.name):
                process.pause()
                world.loop.call_later(
                    faults.between(Fault.PARTICIPANT_PAUSED, 0.2, 4), process.resume
                )
        if faults.strikes(Fault.DATABASE_CRASHED, name):
            world.databases[name].crash()
        if faults.strikes(Fault.PARTICIPANT_DOUBLED, name):
            world.start_worker(name)

    def replace_the_dead(self) -> None:
        """Start as many as there were, some time after."""
        world = self._world
        gone = [c for c in world.coordinators if not c.process.alive or c.process.done]
        for coordinator in gone:
            world.coordinators.remove(coordinator)
        while len(world.coordinators) < self._coordinators and not world.restoring.under_way:
            world.start_coordinator()
        for name, processes in world.workers.items():
            world.workers[name] = [p for p in processes if p.alive]
            if not world.workers[name]:
                world.start_worker(name)
            while len(world.workers[name]) > 2:
                world.workers[name].pop(0).kill()

    def _publish(self) -> None:
        world = self._world
        if world.programme.later and world.loop.time() > 1.0:
            world.published += world.programme.later
            world.programme.later = []

    def heal(self) -> None:
        """Let nothing fail from now on, and start what is not there."""
        world = self._world
        self._faults.healed = True
        world.trace.note("nemesis", "heals everything")
        for coordinator in world.coordinators:
            coordinator.process.resume()
            coordinator.cut_from_log = coordinator.cut_from_kafka = False
        for processes in world.workers.values():
            for process in processes:
                process.resume()
