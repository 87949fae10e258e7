"""Who gives an order."""

from __future__ import annotations

import getpass
import socket

import pytest

from coordinator.cli import who


def test_who_is_given_is_who_it_is() -> None:
    assert who.actor("ann@desk") == "ann@desk"


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("uid")])
def test_a_user_without_a_name_has_a_number(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In a container that runs as some number there is no other name."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 1234)

    assert who.actor(None) == f"1234@{socket.gethostname()}"
