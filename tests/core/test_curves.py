"""The shapes and pictures of the benchmark's curves."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from sagas.loader import load
from sagas.model import Saga
from tests.bench import shapes
from tests.bench.picture import draw
from tests.bench.shapes import Shape


@pytest.mark.parametrize("shape", shapes.ALL.values(), ids=lambda shape: shape.name)
def test_a_shape_is_a_definition_whose_inputs_have_all_it_names(shape: Shape) -> None:
    """Else what is measured would be refusals."""
    definition = load(shape.source, f"{shape.name}.yaml")
    scope = {"input": shape.event(7)}

    parts = definition.steps if isinstance(definition, Saga) else definition.branches

    assert len(parts) == shape.parts == sum(shape.effects(1).values())
    assert all(part.data(scope) for part in parts.values())


def test_no_two_branches_of_a_transfer_touch_the_same_row() -> None:
    """They would wait for each other, for ever where both are in one database."""
    for shape in shapes.BRANCHES.values():
        assert len(set(shape.event(9_999).values())) == shape.parts


def test_a_picture_has_a_number_at_each_point() -> None:
    """A line alone says that something grows, and not how much."""
    text = draw("steps", ["3", "10"], {"coordinator": [250.0, 800.0], "broker": [90.0, 300.0]})

    root = ET.fromstring(text)  # noqa: S314  # it is our own
    said = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"steps", "3", "10", "250", "800", "90", "300", "coordinator", "broker"} <= said
