"""The benchmark: what coordination costs, as ratios to floors measured in the same run.

    python -m tests.bench [--quick]

workload.py   what is transacted: the same for us and for the floors
services.py   participants that do it, and definitions/ for the coordinator
floors.py     the same effects with the least work, without coordinator and Kafka
load.py       closed and open loops, for floors and for the cluster
stage.py      the processes, and what they cost
truth.py      whether every effect happened exactly once
rounds.py     what is measured after what
goals.py      ratios, and what they should be
report.py     tables, and the last line: one JSON object
"""
