"""File templates: glob patterns with the placeholders ``{subject}`` and ``{visit}``.

``{subject}`` stands for one or more characters other than ``/``; written a second time it stands for the same text.
``{subject:PATTERN}`` narrows it by a glob pattern (``{visit:study*}``). Wildcards are ``*``, ``?``, ``[abc]`` and
``**/`` (any folders). Where a name can be cut in several ways (``{subject}_{visit}``), the earlier one takes the least.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lesionlab.errors import InputError
from lesionlab.names import suggestion

PLACEHOLDERS = ("subject", "visit")

_PLACEHOLDER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_TOKEN = re.compile(r"\{[^{}]*\}|\*\*/|\*|\?|\[[^\]/]+\]|.", re.DOTALL)
_WILDCARD = re.compile(r"[*?\[]")


def check_template(template: str) -> str:
    """Return the template; raises ``InputError`` for an unknown placeholder, no subject, or an absolute path."""
    names = [match.group(1) for match in _PLACEHOLDER.finditer(template)]
    unknown = next((name for name in names if name not in PLACEHOLDERS), None)
    if unknown is not None or "{" in _PLACEHOLDER.sub("", template) or "}" in _PLACEHOLDER.sub("", template):
        raise InputError(
            "a file template holds an unknown placeholder",
            given=template,
            allowed=" and ".join(f"{{{name}}}" for name in PLACEHOLDERS),
            cure=f"{suggestion(unknown or '', PLACEHOLDERS)}use * for other parts that vary",
        )
    if "subject" not in names or PurePosixPath(template).is_absolute() or not template:
        raise InputError(
            "a file template does not say which subject it is for",
            given=template,
            allowed="a path below the cohort's root that holds {subject}, such as '{subject}/T1w.nii.gz'",
            cure="write {subject} where the subject's name stands, and leave the root out",
        )
    return template


def matches(root: Path, template: str) -> Iterator[tuple[str, str, Path]]:
    """Yield ``(subject, visit, path)`` for everything below the root that fits.

    The visit is "" where the template has none. Hidden files and folders never fit.
    """
    pattern = re.compile(_expression(template.rstrip("/")))
    for path in sorted(root.glob(_PLACEHOLDER.sub(lambda match: match.group(2) or "*", template.rstrip("/")))):
        relative = path.relative_to(root)
        found = pattern.fullmatch(relative.as_posix())
        if found and not _hidden(relative):
            named = found.groupdict()
            yield named["subject"], named.get("visit", ""), path


def place(root: Path, template: str, path: Path) -> Path:
    """The folder that belongs to the study a match stands for: two of them under one name are two studies.

    It is the path down to the last placeholder, where that is a folder named without wildcards, else its parent.
    """
    parts = PurePosixPath(template).parts
    last = max(index for index, part in enumerate(parts) if _PLACEHOLDER.search(part))
    if "**" in parts:
        return path if path.is_dir() else path.parent
    cut = root.joinpath(*path.relative_to(root).parts[: last + 1])
    named = _WILDCARD.search(_PLACEHOLDER.sub("", parts[last])) is None
    return cut if named and cut.is_dir() else cut.parent


def fill(template: str, subject: str, visit: str) -> str | None:
    """The template with a study's names in it; ``None`` where it needs a visit and the study has none."""
    names = {"subject": subject, "visit": visit}
    if not visit and any(match.group(1) == "visit" for match in _PLACEHOLDER.finditer(template)):
        return None
    return _PLACEHOLDER.sub(lambda match: names[match.group(1)], template)


def files(root: Path, template: str, subject: str, visit: str) -> list[Path]:
    """The files a template names for one study, sorted; empty where there are none."""
    escaped = fill(template, glob.escape(subject), glob.escape(visit))
    if escaped is None or "/" in subject + visit or {subject, visit} & {".", ".."}:
        return []  # a name is one part of a path: none leads out of the root
    return sorted(path for path in root.glob(escaped) if path.is_file() and not _hidden(path.relative_to(root)))


def _expression(template: str) -> str:
    seen: set[str] = set()
    return "".join(_token_expression(token, seen) for token in _TOKEN.findall(template))


def _token_expression(token: str, seen: set[str]) -> str:
    placeholder = _PLACEHOLDER.fullmatch(token)
    if placeholder is None:
        return _wildcard_expression(token)
    name, pattern = placeholder.groups()
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    inner = "".join(map(_wildcard_expression, _TOKEN.findall(pattern))) if pattern else "[^/]+?"
    return f"(?P<{name}>{inner})"


def _wildcard_expression(token: str) -> str:
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        return "[^" + token[2:] if token[1] == "!" else token
    return {"**/": "(?:[^/]+/)*", "*": "[^/]*?", "?": "[^/]"}.get(token, re.escape(token))


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
