"""`twofold demo`: the main job, on real Kafka and real Postgres, in a few minutes.

command.py   what is typed
show.py      what is seen
stage.py     the processes, and a client that publishes events and hears outcomes
acts.py      what happens, act by act
check.py     what must be true at the end, read from the databases alone
"""
