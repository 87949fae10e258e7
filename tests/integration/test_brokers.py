"""Several brokers of Kafka, of which any one may die; and disks that are full."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.local.brokers import LocalBrokers
from compose.local.small_disk import SmallDisk
from wire.envelope import Record
from wire.kafka import Producer, ShardReader, create_topics

TOPIC = "copied"


@pytest.mark.timeout(240)
async def test_what_two_of_three_have_outlives_the_third(tmp_path: Path) -> None:
    """A broker that led a partition dies: what it had acknowledged is there, and more comes."""
    brokers = LocalBrokers.start(tmp_path, 3, progress=lambda _: None)
    places = [(TOPIC, n) for n in range(3)]
    try:
        await create_topics(
            brokers.bootstrap, {TOPIC: 3}, replication=3, config={"min.insync.replicas": "2"}
        )
        async with Producer(brokers.bootstrap) as producer:
            await producer.burst([Record(TOPIC, b"k", b"before", [], n) for _, n in places])
            brokers.nodes[0].kill()
            await producer.burst([Record(TOPIC, b"k", b"after", [], n) for _, n in places])
        async with ShardReader(brokers.bootstrap) as reader:
            found = await reader.read(dict.fromkeys(places, 0), await reader.ends(places))
        kept = {(record.partition, record.value) for record in found}
        assert kept == {(n, word) for _, n in places for word in (b"before", b"after")}
    finally:
        brokers.stop()


def test_a_disk_is_full_until_it_is_freed(tmp_path: Path) -> None:
    """Where none may be mounted, that is said, and nothing else happens."""
    disk = SmallDisk.mount(tmp_path / "disk")
    if disk is None:
        assert list((tmp_path / "disk").iterdir()) == []
        return
    try:
        (disk.directory / "before").write_bytes(bytes(2**20))
        assert disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.directory / "during").write_bytes(bytes(2**20))
        disk.free()
        (disk.directory / "after").write_bytes(bytes(2**20))
        assert (disk.directory / "before").read_bytes() == bytes(2**20)
    finally:
        disk.unmount()
