"""Takes what names a patient out of the words that an operator typed: parts of names, numbers, the date of birth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_NAMES = ("0010|0010", "0010|1001", "0010|1005")
_BIRTH_DATE = "0010|0030"
_NUMBERS = ("0010|0020", "0010|1000", "0008|0050")
#: The tags that name a person.
PERSONAL = (*_NAMES, _BIRTH_DATE, *_NUMBERS)

HIDDEN = "***"
_ANYWHERE = 3  # letters: shorter parts lie within words of descriptions
_SHORTEST_NAME = 2  # letters: as a word of its own; initials stay
_DATE = re.compile(r"(?P<century>\d\d)(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)")  # VR DA, PS3.5, 6.2
_BETWEEN = r"[\s._/\\-]{1,2}"  # what people write between day, month and year
_ORDERS = ("ymd", "dmy", "mdy")


def without_person(text: str, tags: Mapping[str, str]) -> str:
    """A description with ``***`` for parts of the patient's name and number, and for the date of birth.

    Parts of three letters and more are found within words too, names of two letters as words of their own; the date in
    the usual orders, with and without century, separators and leading zeros. Case does not count.

    Args:
        text: the description.
        tags: the values of :data:`PERSONAL`, as far as there are any.
    """
    for pattern in _patterns(tags):
        text = re.sub(pattern, HIDDEN, text, flags=re.IGNORECASE)
    return text


def _patterns(tags: Mapping[str, str]) -> Iterator[str]:
    """Regular expressions for what is hidden: the longest part first, so that none leaves a rest of another."""
    yield from _dates(re.sub(r"\D", "", tags.get(_BIRTH_DATE, "")))
    names = _parts(tags, _NAMES, r"[\s^=\\,;_]+") | _parts(tags, _NAMES, r"[\W\d_]+")  # "Li-Ming", "Li" and "Ming"
    parts = names | _parts(tags, (_BIRTH_DATE, *_NUMBERS), r"[\s^=\\,;_]+")
    for part in sorted(parts, key=lambda part: (-len(part), part)):
        if len(part) >= _ANYWHERE:
            yield re.escape(part)
        elif len(part) >= _SHORTEST_NAME and part in names:
            yield rf"(?<![^\W_]){re.escape(part)}(?![^\W_])"  # beside neither letter nor digit; "_" parts words


def _parts(tags: Mapping[str, str], keys: tuple[str, ...], between: str) -> set[str]:
    return {part for key in keys for part in re.split(between, tags.get(key, ""))}


def _dates(birth: str) -> Iterator[str]:
    """The ways of writing a date given as YYYYMMDD; none where it is no whole date."""
    found = _DATE.fullmatch(birth)
    if found is None:
        return
    year = f"(?:{found['century']})?{found['year']}"
    close = {"y": year, "m": found["month"], "d": found["day"]}
    apart = {"y": year, "m": f"0?{int(found['month'])}", "d": f"0?{int(found['day'])}"}
    for words, between in ((apart, _BETWEEN), (close, "")):
        for order in _ORDERS:
            yield rf"(?<!\d){between.join(words[one] for one in order)}(?!\d)"
