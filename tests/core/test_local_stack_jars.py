"""Kafka's jars: only listed content reaches the class path."""

import hashlib
from pathlib import Path

import pytest

from compose.local.errors import StackError
from compose.local.jars import LIST, Jar, ensure_jars, parse_list

CONTENT = b"a jar"
JAR = Jar("org.example", "tool", "1.0", hashlib.sha256(CONTENT).hexdigest())


def silent(_: str) -> None:
    pass


def place(jar: Jar, repository: Path, content: bytes) -> None:
    path = jar.path_in(repository)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def fetch_good(jar: Jar, repository: Path) -> None:
    place(jar, repository, CONTENT)


def fetch_bad(jar: Jar, repository: Path) -> None:
    place(jar, repository, b"something else")


def fetch_nothing(_jar: Jar, _repository: Path) -> None:
    raise ConnectionError("no route\nto host")


def test_what_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    """With every jar in place, no network is needed."""
    place(JAR, tmp_path, CONTENT)

    assert ensure_jars([JAR], tmp_path, silent, fetch_nothing) == [JAR.path_in(tmp_path)]


def test_a_jar_with_other_content_is_refused_and_removed(tmp_path: Path) -> None:
    """The message names the jar and both hashes, and the file cannot be used later."""
    with pytest.raises(StackError, match=f"{JAR.coordinate} .* {JAR.sha256} is listed"):
        ensure_jars([JAR], tmp_path, silent, fetch_bad)

    assert not JAR.path_in(tmp_path).exists()


def test_an_interrupted_download_is_replaced(tmp_path: Path) -> None:
    """Half a jar from an earlier run is not an error: it is fetched again."""
    place(JAR, tmp_path, CONTENT[:2])

    (path,) = ensure_jars([JAR], tmp_path, silent, fetch_good)

    assert path.read_bytes() == CONTENT


def test_no_network_and_nothing_here_says_what_to_do(tmp_path: Path) -> None:
    """One line: which jar, why, and the way around."""
    with pytest.raises(StackError, match="ConnectionError: no route") as caught:
        ensure_jars([JAR], tmp_path, silent, fetch_nothing)

    assert "KAFKA_BOOTSTRAP" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_progress_counts_what_is_fetched(tmp_path: Path) -> None:
    """The first start takes a while, so it says what it does."""
    said: list[str] = []
    ensure_jars([JAR], tmp_path, said.append, fetch_good)

    assert said[-1].strip() == "1 of 1 jars"


def test_the_committed_list_is_whole() -> None:
    """Every line is a hash and a coordinate; the broker and the logging binding are there."""
    jars = parse_list(LIST.read_text(encoding="utf-8"))

    assert {"kafka_2.13", "kafka-clients", "slf4j-simple"} <= {jar.artifact for jar in jars}
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)
    assert len({jar.coordinate for jar in jars}) == len(jars)
