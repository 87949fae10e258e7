"""The Docker files: parsed here, and held to what the local stack uses."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from compose.local.command import DATABASES
from compose.local.containers import KAFKA_IMAGE, POSTGRES_IMAGE
from compose.local.postgres import SETTINGS

FOLDER = Path(__file__).parents[2] / "compose"
READER: Any = YAML(typ="safe", pure=True)
COMPOSE: dict[str, Any] = READER.load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_the_images_are_those_of_the_container_stack() -> None:
    """One version of Kafka and of Postgres, however they are run."""
    assert SERVICES["kafka"]["image"] == KAFKA_IMAGE
    assert SERVICES["postgres"]["image"] == POSTGRES_IMAGE


def test_postgres_has_the_settings_of_the_local_one() -> None:
    """Prepared transactions are on, with as much room."""
    command = SERVICES["postgres"]["command"]
    assert all(f"{name}={value}" in command for name, value in SETTINGS.items())


def test_every_database_is_created() -> None:
    """The log's by the image itself, the participants' by its script."""
    script = COMPOSE["configs"]["databases"]["content"]
    made = {line.split()[2].rstrip(";") for line in script.splitlines()}

    assert made | {SERVICES["postgres"]["environment"]["POSTGRES_DB"]} == set(DATABASES)


def test_what_a_service_waits_for_is_there_in_every_profile_of_it() -> None:
    """A service never waits for one that its profile leaves out, or that has no health."""
    for service in SERVICES.values():
        for name, wait in service.get("depends_on", {}).items():
            assert set(service["profiles"]) <= set(SERVICES[name]["profiles"])
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]


def test_every_port_is_published_on_the_loopback_address() -> None:
    """The stack trusts whoever reaches it."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_does_not_run_as_root() -> None:
    """The last stage of the Dockerfile gives up root."""
    stages = (FOLDER / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    assert len(stages) == 3
    assert "\nUSER twofold\n" in stages[-1]
