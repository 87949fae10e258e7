"""Chaos: real processes, faults that overlap, and a checker that knows only what users know.

services.py     three participants, each with a database of its own
definitions/    transfers over two and three of them, a saga, and a counter
system.py       all processes and servers, and the proxies between them
load.py         clients, what they were told, and what they asked for
faults.py       everything that goes wrong, drawn from a seed
harm_*.py       how it is done: to processes, databases, networks and records
check.py        what must be true at rest
run.py          all of it, one after the other
controls.py     two broken builds, which the checker must catch
report.py       what came of it
command.py      python -m tests.chaos
"""
