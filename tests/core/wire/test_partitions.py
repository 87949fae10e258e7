"""Where records go."""

from __future__ import annotations

import pytest

from wire.kafka import partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    # From the tests of Kafka's own client: org.apache.kafka.common.utils.UtilsTest.
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_a_key_goes_where_other_clients_of_kafka_would_send_it(key: bytes, hashed: int) -> None:
    """Whoever joins our outcomes with events of the same key relies on it."""
    partitions = list(range(100))
    for _ in range(2):  # the second answer is a remembered one
        assert partition_of(key, partitions, partitions) == (hashed & 0x7FFFFFFF) % 100


def test_a_record_without_a_key_goes_where_somebody_is() -> None:
    """Any partition that has a leader."""
    assert partition_of(None, [0, 1, 2], [1]) == 1
