"""Other ways to do the same, beside ours on the same servers: python -m tests.bench.peers.

They are what one gets from PyPI: a session of SQLAlchemy that commits in two
phases, and durable workflows of DBOS. Each is a script of its own that knows
nothing of Twofold, and runs with libraries of its own (requirements.lock).

Neither does what we do. The session keeps no log of its decisions: a crash
between its two commits leaves a branch in doubt for good. The steps of the
workflow do nothing, where ours write a row; both flatter the peer.
"""
