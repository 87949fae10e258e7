"""A command leaves logging as it was, so that no other test hears less."""

from __future__ import annotations

import logging
from collections.abc import Generator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_before() -> Generator[None]:
    """Put back what commands quieten."""
    before, level = structlog.get_config(), logging.getLogger("aiokafka").level
    yield
    structlog.configure(**before)
    logging.getLogger("aiokafka").setLevel(level)
