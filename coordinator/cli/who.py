"""Who gives an order, if nobody says."""

from __future__ import annotations

import getpass
import os
import socket


def actor(given: str | None) -> str:
    """Return who was given; else USER@HOST. In a container, a user may have no name."""
    if given:
        return given
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
