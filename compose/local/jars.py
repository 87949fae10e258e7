"""Apache Kafka's own jars: fetched by jgo, checked against our list, kept.

`kafka-jars.sha256` names every jar of Kafka's class path with its SHA-256. A
jar that differs from the list is never put on the class path. Which repository
jars come from is jgo's affair. Nothing is fetched that is already here.

`python -m compose.local.jars` prints a new list for a new version of Kafka.
"""

import fcntl
import hashlib
import importlib
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compose.local.cache import cache_directory
from compose.local.errors import StackError

KAFKA_VERSION = "4.3.1"
# Kafka is compiled against SLF4J 1.7: a binding of 2.x would be ignored.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
LIST = Path(__file__).with_name("kafka-jars.sha256")
DOWNLOADS_AT_ONCE = 6
REPORT_EVERY = 10

Fetch = Callable[["Jar", Path], None]


@dataclass(frozen=True)
class Jar:
    """A jar's coordinate, and the only content it may have."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    def path_in(self, repository: Path) -> Path:
        folder = repository.joinpath(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"


def parse_list(text: str) -> list[Jar]:
    """Lines of `sha256  group:artifact:version`; `#` starts a comment."""
    jars: list[Jar] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            digest, coordinate = line.split()
            group, artifact, version = coordinate.split(":")
            jars.append(Jar(group, artifact, version, digest))
    return jars


def kafka_jars(progress: Callable[[str], None]) -> list[Path]:
    """Paths of all of Kafka's jars, each with the listed content."""
    listed = parse_list(LIST.read_text(encoding="utf-8"))
    return ensure_jars(listed, cache_directory() / "maven", progress)


def ensure_jars(
    jars: Sequence[Jar],
    repository: Path,
    progress: Callable[[str], None],
    fetch: Fetch | None = None,
) -> list[Path]:
    """Check what is here, fetch what is not, and return the paths in the list's order."""
    if not all(_is_intact(jar, repository) for jar in jars):
        with _locked(repository):
            missing = [jar for jar in jars if not _is_intact(jar, repository)]
            for jar in missing:  # what an interrupted download left
                jar.path_in(repository).unlink(missing_ok=True)
            if missing:
                progress(f"fetching Apache Kafka {KAFKA_VERSION}: {len(missing)} jars (once)")
                _fetch_all(missing, repository, progress, fetch or _fetch_with_jgo)
    return [jar.path_in(repository) for jar in jars]


@contextmanager
def _locked(repository: Path) -> Generator[None]:
    """One process at a time fetches; the kernel drops the lock of one that died."""
    repository.mkdir(parents=True, exist_ok=True)
    with (repository / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_intact(jar: Jar, repository: Path) -> bool:
    path = jar.path_in(repository)
    return path.exists() and _digest(path) == jar.sha256


def _fetch_all(
    jars: Sequence[Jar], repository: Path, progress: Callable[[str], None], fetch: Fetch
) -> None:
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        downloads = [pool.submit(_fetch_checked, jar, repository, fetch) for jar in jars]
        try:
            for count, done in enumerate(as_completed(downloads), start=1):
                done.result()
                if count % REPORT_EVERY == 0 or count == len(jars):
                    progress(f"  {count} of {len(jars)} jars")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_checked(jar: Jar, repository: Path, fetch: Fetch) -> None:
    try:
        fetch(jar, repository)
    except StackError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0][:200]
        raise StackError(
            f"{jar.coordinate} could not be fetched ({type(error).__name__}: {reason})",
            "connect to the network once, or set KAFKA_BOOTSTRAP to a Kafka of yours",
        ) from error
    path = jar.path_in(repository)
    found = _digest(path)
    if found != jar.sha256:
        path.unlink()
        raise StackError(
            f"{jar.coordinate} was fetched with SHA-256 {found} but {jar.sha256} is listed",
            f"it was not used and is removed; find out who changed it, or correct {LIST.name}",
        )


def _fetch_with_jgo(jar: Jar, repository: Path) -> None:
    context = _jgo_context(repository)
    context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()


def _jgo_context(repository: Path) -> Any:
    try:
        maven = importlib.import_module("jgo.maven")
        settings = importlib.import_module("jgo.config").GlobalSettings.load()
        central = importlib.import_module("jgo.constants").MAVEN_CENTRAL_URL
    except ImportError as error:
        raise StackError(
            "Kafka's jars are not here and jgo, which fetches them, is not installed",
            "install it with: pip install 'twofold[local]'",
        ) from error
    # The user's own repositories come first: a mirror is there to be preferred.
    remotes = {**settings.repositories, "central": central}
    return maven.MavenContext(repo_cache=repository, remote_repos=remotes)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(repository: Path) -> Iterable[str]:
    """A new list: what jgo resolves for the endpoint, hashed."""
    jgo = importlib.import_module("jgo")
    yield f"# The class path of {ENDPOINT}."
    yield "# Written by `python -m compose.local.jars`: SHA-256, then Maven coordinate."
    context = _jgo_context(repository)
    lines: list[str] = []
    for found in jgo.resolve(ENDPOINT):
        coordinate = f"{found.groupId}:{found.artifactId}:{found.version}"
        jar = Jar(found.groupId, found.artifactId, found.version, "")
        context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        lines.append(f"{_digest(jar.path_in(repository))}  {coordinate}")
    yield from sorted(set(lines), key=lambda line: line.split()[1])


if __name__ == "__main__":
    for row in _listing(cache_directory() / "maven"):
        sys.stdout.write(row + "\n")
