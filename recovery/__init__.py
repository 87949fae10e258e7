"""Brings a log up to date that was restored from a backup, or has failed over with a loss.

command    what the command takes
recover    the steps, in their order
starts     what the topics still say: who asked for what, and what was told
rebuild    what must be added to a transaction's log. Pure.
"""
