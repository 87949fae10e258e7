"""`python -m tests.takeovers`."""

from tests.takeovers.command import main

raise SystemExit(main())
