"""The `twofold` command.

main.py           the commands, and what becomes of errors
output.py         text for people, JSON for programs
checking.py       check
running.py        serve, migrate, topics, config
transactions.py   start, list, show
plain.py          records and states in plain words

Exit codes: 0 done; 1 the answer is no; 2 the command line is wrong;
3 something is not there, or not ready.
"""
