"""The JSON file beside a benchmark: a list of entries, each replacing the earlier one of its kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def record(script: str, made: dict[str, Any], kind: Sequence[str]) -> None:
    """Put an entry into ``<script>.json``, in place of one that agrees with it in all keys of `kind`, and print it."""
    path = Path(script).with_suffix(".json")
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [other for other in known if any(other[key] != made[key] for key in kind)]
    path.write_text(json.dumps([*kept, made], indent=2) + "\n", encoding="utf-8")
    print(json.dumps(made, indent=2), flush=True)
