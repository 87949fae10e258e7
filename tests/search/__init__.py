"""Every state that a small transaction can reach, in the worst of worlds.

The cores are the real ones: the coordinator's machines, its log in memory with
the fence, and the participants' rules. What is around them is as bad as can
be. A message that was ever sent can arrive at any moment, again and again, or
never. Timers fire when they like. An owner that was deposed goes on as if
nothing had happened. So whatever can happen to such a transaction is here, and
nothing is left to chance or to a seed.

To make states comparable, time is reduced to what a state can tell of it: due,
or not yet. What is only for people (reasons, results) is left out.
"""
