"""Nearest names, for errors that say what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lesionlab.errors import InputError

_LONGEST = 150  # bytes of a subject's or visit's name: both, joined, become a file name of at most 255
_LIKENESS = 0.4  # difflib's ratio from which a name is worth suggesting


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like the given one (case does not count), or ``None`` where none is alike."""
    names = list(allowed)
    found = difflib.get_close_matches(given.lower(), [name.lower() for name in names], n=1, cutoff=_LIKENESS)
    return next((name for name in names if found and name.lower() == found[0]), None)


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """``"did you mean 'FLAIR'? "`` or an empty string: the opening of a cure."""
    name = nearest(given, allowed)
    return f"did you mean '{name}'? " if name is not None else ""


def listed(names: Iterable[object], limit: int = 10) -> str:
    """The first names with commas between them, and how many more there are."""
    every = [str(name) for name in names]
    rest = len(every) - limit
    return (", ".join(every[:limit]) or "nothing") + (f" and {rest} more" if rest > 0 else "")


def check_name(name: str, what: str, file: object = None) -> str:
    """Return a subject's or visit's name; raises ``InputError`` for one that cannot be the name of a folder.

    Spaces, quotes and letters of any script are fine. Refused are a name that is empty or too long, starts with ``.``
    or ``_`` (which mark what is not a study), or holds ``/``, ``\\`` or a control character.
    """
    wrong = not name.strip() or name[0] in "._" or any(one in "/\\" or not one.isprintable() for one in name)
    if wrong or len(name.encode(errors="surrogateescape")) > _LONGEST:
        raise InputError(
            f"the {what} has a name that cannot be used",
            given=repr(name[:_LONGEST]),
            allowed=f"1 to {_LONGEST} bytes, no / or \\ or control character, neither . nor _ at the start",
            cure=f"rename the {what}",
            file=file,
        )
    return name
