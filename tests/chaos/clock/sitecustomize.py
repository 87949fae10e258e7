"""A clock that is wrong by CHAOS_CLOCK_S seconds, for a process that has this folder first.

It is the clock that the process's Python code reads; timers run on another one.
"""

import os
import time

_OFF_S = float(os.environ["CHAOS_CLOCK_S"])
_right, _right_ns = time.time, time.time_ns
time.time = lambda: _right() + _OFF_S
time.time_ns = lambda: _right_ns() + int(_OFF_S * 1e9)
