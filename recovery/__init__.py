"""Brings a log up to date that was restored from a backup, or has failed over with a loss.

command    what the command takes
recover    the steps, in their order
starts     what the topics still say: who asked for what, and what was told
parts      how those are named that begin as part of others
families   a transaction and its parts, compared with their traces as one
rebuild    what must be added to a saga's log, and
atomic     to an atomic transaction's. Pure.
"""
