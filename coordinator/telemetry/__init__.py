"""What is seen from outside: traces, metrics, logs.

A transaction's trace is a function of its log: the ids of its spans are
derived from its name, and their times are those of its records. So a new
owner goes on in the same trace.
"""
