"""Topics of Twofold's own are not for definitions to name."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from coordinator.cli import main
from coordinator.own_topics import usurped
from coordinator.service import load_files
from sagas.loader import DefinitionInvalid, load
from wire.topics import Topics

DEFINITION = """\
saga: ship-when-paid
version: 1
start: {topic: orders, reply_to: ended}
steps:
  reserve: {call: stock.reserve, undo: stock.release}
  paid: {wait: {topic: paid, match: event.order == input.order}}
  ship: {call: shipping.send, pivot: true}
"""
OTHER = """\
atomic: transfer
version: 1
branches: {debit: {call: bank.debit}}
"""
PAY = Topics("pay")
OURS = ("requests", "replies", "outcomes", "dead-letters", "heartbeats", "marks")
OWN = [f"pay.{name}" for name in OURS] + [f"{name}.commands" for name in ("stock", "bank")]


@pytest.mark.parametrize("topic", OWN)
@pytest.mark.parametrize(("word", "line"), [("orders,", 3), ("ended}", 3), ("paid,", 6)])
def test_each_of_them_is_refused_wherever_it_stands(word: str, line: int, topic: str) -> None:
    """By the names of this cluster, and of all participants that are called."""
    text = DEFINITION.replace(f": {word}", f": {topic}{word[-1]}")
    [problem] = usurped(load(text, "f"), "f", PAY, [load(OTHER, "g")])
    assert (problem.code, problem.line) == ("own-topic", line)
    assert topic in problem.message


def test_topics_of_other_clusters_and_of_yours_are_not(tmp_path: Path) -> None:
    """What another cluster tells is an event like any other."""
    text = DEFINITION.replace("topic: orders,", "topic: twofold.outcomes,")
    assert list(usurped(load(text, "f"), "f", PAY)) == []
    (tmp_path / "f.yaml").write_text(text)
    assert [one.name for one in load_files([tmp_path], PAY)] == ["ship-when-paid"]


def test_they_are_refused_before_anything_is_published(tmp_path: Path) -> None:
    """And by `twofold check`, which asks the settings for their names."""
    file = tmp_path / "f.yaml"
    file.write_text(DEFINITION.replace("ended}", "pay.replies}"))
    with pytest.raises(DefinitionInvalid, match="participants answer there"):
        load_files([file], PAY)

    settings = {"TWOFOLD_KAFKA__PREFIX": "pay"}
    runner = CliRunner()
    assert runner.invoke(main.app, ["check", str(file)], env=settings).exit_code == 1
    assert runner.invoke(main.app, ["check", str(file)]).exit_code == 0
