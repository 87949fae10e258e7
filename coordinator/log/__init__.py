"""The decision log: what survives a crash.

store.py       what a log can do, as a protocol
postgres.py    on Postgres: one statement, one round trip, one commit a batch
ask.py         one statement, and one name for whatever may go wrong
memory.py      its twin in memory, for the simulator; both pass one suite
views.py       what people ask of it: list, show
migrate.py     its schema, in numbered steps
"""
