"""What the topics of commands say."""

from __future__ import annotations

from recovery.starts import sent
from recovery.traces import Sent
from wire.envelope import Envelope, seal
from wire.kafka import Received
from wire.messages import Commit, Prepare

GID = "tf1.test.1.0." + "0" * 32


def test_what_was_sent_is_found_by_its_transaction_whatever_its_key() -> None:
    """A definition may choose keys, so that the commands of an account stay in order."""
    prepare = Prepare(gid=GID, branch="debit", command="debit", data=None)
    messages = [(prepare, "account-1"), (Commit(gid=GID, branch="debit"), "account-1")]
    records = [
        seal(Envelope(message), topic="bank.commands", source="/twofold/test", key=key)
        for message, key in messages
    ]
    received = [Received(r.topic, 0, 0, r.key, r.value, r.headers, 0) for r in records]

    assert sent(received) == {GID: Sent.ANYTHING | Sent.COMMIT}
