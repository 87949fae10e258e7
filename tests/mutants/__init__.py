"""Bugs planted on purpose, to see that the search or the simulation finds them.

A mutant is an exact piece of text and what replaces it. It is planted in a
copy of the source tree. A text that is not there exactly once is an error, so
that no mutant outlives the code that it was made for.
"""
