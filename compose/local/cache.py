"""Where the stack keeps what it fetches or builds once."""

import os
from collections.abc import Mapping
from pathlib import Path


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """TWOFOLD_CACHE, or the `twofold` folder of the user's cache directory."""
    if chosen := environment.get("TWOFOLD_CACHE"):
        return Path(chosen)
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "twofold"
