"""Every topic name, once."""

from __future__ import annotations

from typing import NamedTuple


class Topics(NamedTuple):
    """The names of Twofold's topics; two clusters on one Kafka differ in prefix."""

    prefix: str = "twofold"

    @property
    def requests(self) -> str:
        """Starts. One partition a shard."""
        return f"{self.prefix}.requests"

    @property
    def replies(self) -> str:
        """What participants answer and ask, and people order. One partition a shard."""
        return f"{self.prefix}.replies"

    @property
    def outcomes(self) -> str:
        """How transactions ended, for anyone. Keyed by start key."""
        return f"{self.prefix}.outcomes"

    @property
    def dead_letters(self) -> str:
        """Records that could not be read, with the reason in a header."""
        return f"{self.prefix}.dead-letters"

    @property
    def heartbeats(self) -> str:
        """Signs of life of participants. Kept for minutes; one partition is enough."""
        return f"{self.prefix}.heartbeats"

    @property
    def marks(self) -> str:
        """How far each shard's log has come. Compacted; one partition a shard."""
        return f"{self.prefix}.marks"

    @staticmethod
    def commands(participant: str) -> str:
        """What a participant is asked to do. Keyed by gid."""
        return f"{participant}.commands"
