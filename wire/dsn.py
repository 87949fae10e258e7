"""The servers that a DSN names: `postgresql://user@a:5432,b:5432/name` names two."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def servers(dsn: str) -> list[str]:
    """Return a DSN for each server, in order. Raises ValueError if it is no DSN."""
    place = urlsplit(dsn)
    user, at, hosts = place.netloc.rpartition("@")
    if "," not in hosts:
        return [dsn]
    return [urlunsplit(place._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
