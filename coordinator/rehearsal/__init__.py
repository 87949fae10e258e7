"""A definition run against everything that can go wrong, by the real core, in virtual time."""
