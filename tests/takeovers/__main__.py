"""The command: python -m tests.takeovers."""

from tests.takeovers.command import main

main()
