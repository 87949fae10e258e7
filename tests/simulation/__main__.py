"""``python -m tests.simulation SEEDS [--from K]``."""

from tests.simulation.command import main

if __name__ == "__main__":
    raise SystemExit(main())
