"""The whole of Twofold in one thread and in virtual time, seed by seed.

    loop.py          asyncio, on a clock that jumps
    faults.py        which faults a seed has, and how often they struck
    process.py       what can be killed or paused between any two calls
    kafka.py         a broker, and the product's producer and reader over it
    log.py           the decision log in memory, and an unreliable way to it
    database.py      a participant's Postgres, for the statements of the kit
    programme.py     what transactions do, and how their handlers answer
    coordinators.py  the engine and its ownership of shards, as a process
    participants.py  the kit's service, branches, barrier and resolver, as one
    nemesis.py       what goes wrong by itself
    check.py         what must be so at every step
    ending.py        what must be so at the end
    world.py         one run
    shrink.py        a failing run, made small
    command.py       many runs: python -m tests.simulation SEEDS

Real are the engine, its turn, holdings and ownership, both machines, the wire
format, and all of the participant's kit but its session with Kafka.
"""
