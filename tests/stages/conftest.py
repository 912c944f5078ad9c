"""What tests of the store share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def content() -> Callable[[Path], dict[str, bytes]]:
    """Reads every file a stage leaves for its studies, hidden ones and those half-written included.

    The manifest (which tells the time) and the notes of runs to one another are none of a study's.
    """

    def read(root: Path) -> dict[str, bytes]:
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "manifest.json"]
        return {str(path.relative_to(root)): path.read_bytes() for path in files if ".runs" not in path.parts}

    return read
