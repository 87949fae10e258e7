"""Ports for the stack: free when chosen, and kept over restarts.

They lie below the range from which kernels give outgoing connections their
ports. Inside it, a client that keeps trying to reconnect to a killed server
may be given that very port, connect to itself, and keep the server from
coming back.
"""

import errno
import random
import socket

from compose.local.errors import StackError

LOOPBACK = "127.0.0.1"
CHOICES = range(20_000, 32_000)
ATTEMPTS = 200


def free_port() -> int:
    """A port on the loopback address that nothing listens on now."""
    for port in random.SystemRandom().sample(CHOICES, ATTEMPTS):
        if _is_free(port):
            return port
    raise StackError(
        f"none of {ATTEMPTS} ports tried between {CHOICES.start} and {CHOICES.stop} is free",
        "end some programs that listen there",
    )


def require_free(port: int, name: str) -> None:
    """Fail with a sentence, before a server fails with a stack trace."""
    if not _is_free(port):
        raise StackError(
            f"port {port}, which {name} needs, is taken by another program",
            "end that program, or start again to have another port chosen",
        )


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        # Connections in TIME_WAIT do not count: servers set this option too.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
