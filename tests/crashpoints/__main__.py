"""`python -m tests.crashpoints`."""

from tests.crashpoints.command import main

main()
