"""The pure heart: what happens next, given what is known and what came.

records.py     what is remembered: the decision log, one fact each
events.py      what can happen
transition.py  the answer to an event, and tables of rules
two_phase.py   atomic transactions; two_phase_state.py is what is known of one
saga.py        sagas going forward; saga_state.py is what is known of one
compensation.py  sagas going back
machine.py     one door to both: begin, react, wake, recover

Facts are durable, commands are derived. A handler only adds records; what
must be sent follows from the state they make. So a new owner that replays
the log sends exactly what is still missing, and there is no other path.

Nothing in this folder awaits, reads a clock, draws a random number or logs.
"""
