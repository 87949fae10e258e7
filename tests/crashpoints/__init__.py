"""Every crash point of docs/guarantees.md, many times over, on real processes.

points.py    what there is, and what is not injected and why
run.py       processes that die at a point again and again, under load
report.py    the table
command.py   python -m tests.crashpoints
"""
