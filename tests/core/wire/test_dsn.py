"""DSNs that name several servers."""

from __future__ import annotations

import pytest

from wire.dsn import servers


@pytest.mark.parametrize(
    ("dsn", "found"),
    [
        ("postgresql://u@a:1/d", ["postgresql://u@a:1/d"]),
        ("postgresql:///d?host=/run", ["postgresql:///d?host=/run"]),
        (
            "postgresql://u:p%2C@a:1,b,[::1]:3/d?sslmode=require",
            [f"postgresql://u:p%2C@{host}/d?sslmode=require" for host in ("a:1", "b", "[::1]:3")],
        ),
        ("postgresql://a,b/d", ["postgresql://a/d", "postgresql://b/d"]),
    ],
)
def test_each_server_has_a_dsn(dsn: str, found: list[str]) -> None:
    """All the rest is the same; what names one server stays as it is written."""
    assert servers(dsn) == found
