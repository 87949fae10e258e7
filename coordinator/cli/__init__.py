"""The `twofold` command.

main.py           the subcommands, found late; what becomes of errors
commands.py       what each command takes; loads nothing heavy
errors.py         what to say when something is not there or not ready
output.py         text for people, JSON for programs
reach.py          the settings, and the way to the log; config
checking.py       check
running.py        serve
preparing.py      migrate, topics
starting.py       start
transactions.py   list, show
nodes.py          nodes
dlq.py            what the commands of dlq take
dead_letters.py   dlq list, show, replay
letters.py        what a dead letter says of itself; pure
plain.py          records and states in plain words; pure
story.py          all that can be said of one transaction; pure

Exit codes: 0 done; 1 the answer is no; 2 the command line is wrong;
3 something is not reachable, not ready, or not readable; 130 after Ctrl-C.
"""
