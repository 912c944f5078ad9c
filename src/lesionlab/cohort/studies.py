"""Studies as readers find them: a subject at a visit, with the places of its scans and masks, and what it lacks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lesionlab.cohort.layout import Layout
from lesionlab.cohort.templates import files, fill, matches, place
from lesionlab.errors import InputError
from lesionlab.names import check_name, listed, nearest

_SEVERAL = "several files"


class Study(NamedTuple):
    """A subject at a visit ("" where there is none), and the key that names both."""

    subject: str
    visit: str
    key: str


@dataclass
class FoundStudy:
    """What a reader found of one study; with a fault it is quarantined.

    Attributes:
        study: its names.
        scans: sequence to file.
        missing: sequences that are not there, and the errors that say what was looked for.
        lesion: the lesion mask's file, "" where there is none.
        drawn_on: the sequences asked for that the lesion may have been drawn on, the likeliest first.
        brain: the brain mask's file, "" where there is none.
        split: where the cohort's own table gives one.
        faults: all else that is wrong.
    """

    study: Study
    scans: dict[str, str] = field(default_factory=dict)
    missing: dict[str, InputError] = field(default_factory=dict)
    lesion: str = ""
    drawn_on: tuple[str, ...] = ()
    brain: str = ""
    split: str = ""
    faults: list[InputError] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, what in ((self.study.subject, "subject"), (self.study.visit or "none", "visit")):
            try:
                check_name(name, what)
            except InputError as error:
                self.faults.append(error)

    @property
    def lesion_on(self) -> str:
        """The sequence that the lesion lies on: the first of :attr:`drawn_on` that the study has; "" without one."""
        return next((name for name in self.drawn_on if self.lesion and self.scans.get(name)), "")

    def faults_unless(self, may_lack: Collection[str]) -> list[InputError]:
        """Its faults; lacking one of the sequences that it may lack is none."""
        faults = [error for name, error in self.missing.items() if name not in may_lack] + self.faults
        if not faults and self.lesion and not self.lesion_on:
            faults.append(self._lesion_without_scan())
        return faults

    def _lesion_without_scan(self) -> InputError:
        return InputError(
            "the study lacks every sequence that its lesion mask may lie on",
            given=f"sequences {listed(name for name, path in self.scans.items() if path)}",
            allowed=f"one of {listed(self.drawn_on)}",
            cure="put one of them there, name the mask's sequence in the layout's `lesion.drawn_on` or the table's "
            "`lesion_on`, or leave the study out",
            subject=self.study.subject,
            file=self.lesion,
        )


def check_root(root: Path) -> None:
    """Raise ``InputError`` where the cohort's folder is missing."""
    if not root.is_dir():
        beside = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
        near = nearest(root.name, beside)
        raise InputError(
            "the cohort's folder is missing",
            given=root,
            allowed="an existing folder that holds the scans",
            cure=f"correct the root{f' (there is {root.parent / near})' if near else ''}, or put the scans there",
        )


def template_studies(root: Path, layout: Layout) -> list[Study]:
    """The studies that the layout's ``study`` templates name.

    Raises:
        InputError: nothing fits, or two studies have one name.
    """
    places: dict[tuple[str, str], set[Path]] = defaultdict(set)
    for template in layout.study:
        for subject, visit, path in matches(root, template):
            if path.is_dir() or _any_file(root, layout, subject, visit):
                places[subject, visit].add(place(root, template, path))
    if not places:
        raise _nothing_fits(root, layout)
    for (subject, _), found in places.items():
        _check_single(subject, sorted(found))
    return name_studies(sorted(places))


def name_studies(pairs: Sequence[tuple[str, str]]) -> list[Study]:
    """Name studies by subject, and by subject and visit where a subject has several visits."""
    visits = Counter(subject for subject, _ in pairs)
    studies: list[Study] = []
    named: dict[str, tuple[str, str]] = {}
    for subject, visit in pairs:
        key = subject if visits[subject] == 1 or not visit else f"{subject}_{visit}"
        if key in named:
            raise InputError(
                "two studies have one name",
                given=f"{key}, from {named[key]} and from {(subject, visit)} (subject, visit)",
                allowed="names that stay different when subject and visit are joined by _",
                cure="rename one of the two subjects",
                subject=subject,
            )
        named[key] = (subject, visit)
        studies.append(Study(subject, visit, key))
    return studies


def lesion_sequences(layout: Layout, sequences: tuple[str, ...]) -> tuple[str, ...]:
    """The sequences among those asked for whose grid the lesion masks may share, none without masks."""
    if layout.lesion is None:
        return ()
    found = tuple(name for name in layout.lesion.drawn_on if name in sequences)
    if found:
        return found
    raise InputError(
        "the lesion masks lie on the grid of a sequence that is not asked for",
        given=listed(sequences),
        allowed=f"sequences with one of {listed(layout.lesion.drawn_on)}",
        cure="add it to `sequences`, or, for co-registered scans, name one of yours in the layout's `lesion.drawn_on`",
    )


def find_sequence(root: Path, templates: tuple[str, ...], found: FoundStudy, name: str, cure: str) -> None:
    """Add the sequence that templates name to a study, or what says that it is missing or ambiguous."""
    file = locate(root, templates, found.study, f"sequence {name}", cure)
    if isinstance(file, Path):
        found.scans[name] = str(file)
    elif _is_ambiguous(file):
        found.faults.append(file)
    else:
        found.missing[name] = file


def find_masks(root: Path, layout: Layout, found: FoundStudy, drawn_on: tuple[str, ...]) -> None:
    """Add the masks that the layout's templates name to a study, or the faults that say which is missing."""
    if layout.lesion is not None:
        cure = "set the layout's `lesion.optional` for unlabelled studies"
        found.lesion = take(root, layout.lesion.file, found, "lesion mask", cure, layout.lesion.optional)
        found.drawn_on = drawn_on
    if layout.brain_mask is not None:
        found.brain = take(root, layout.brain_mask, found, "brain mask", "take `brain_mask` out of the layout")


def take(
    root: Path, templates: tuple[str, ...], found: FoundStudy, what: str, cure: str, optional: bool = False
) -> str:
    """The file that templates name for a study, or "" and a fault (none where it is optional and absent)."""
    file = locate(root, templates, found.study, what, cure)
    if isinstance(file, Path):
        return str(file)
    if not optional or _is_ambiguous(file):
        found.faults.append(file)
    return ""


def _is_ambiguous(error: InputError) -> bool:
    return error.given.startswith(_SEVERAL)


def locate(root: Path, templates: tuple[str, ...], study: Study, what: str, cure: str) -> Path | InputError:
    """The file of the first template that names one, or the error that says what was looked for."""
    for template in templates:
        found = files(root, template, study.subject, study.visit)
        if len(found) == 1:
            return found[0]
        if found:
            return InputError(
                f"the {what} is ambiguous",
                given=f"{_SEVERAL}: {listed(found)}",
                allowed=f"one file named like {template}",
                cure="narrow the layout's template, or move the file that is not meant",
                subject=study.subject,
                file=found[0],
            )
    tried = [name for name in (fill(one, study.subject, study.visit) for one in templates) if name] or list(templates)
    folder = (root / tried[0]).parent
    there = sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    near = nearest(Path(tried[0]).name, there)
    return InputError(
        f"the {what} is missing",
        given=f"nothing named {' or '.join(tried)} below {root}; {folder} holds {listed(there)}",
        allowed=f"a file named like {' or '.join(templates)}",
        cure=f"{f'did you mean {near}? ' if near else ''}put the file there, correct the layout's template, or {cure}",
        subject=study.subject,
        file=root / tried[0],
    )


def _any_file(root: Path, layout: Layout, subject: str, visit: str) -> bool:
    """Whether a sequence of the study exists: a stray file beside the studies is none."""
    return any(files(root, one, subject, visit) for several in layout.sequences.values() for one in several)


def _nothing_fits(root: Path, layout: Layout) -> InputError:
    there = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    return InputError(
        "no study fits the layout",
        given=f"the folder holds {listed(there)}",
        allowed=f"files or folders named like {' or '.join(layout.study)}",
        cure="correct the cohort's root or the layout's `study` template",
        file=root,
    )


def _check_single(subject: str, found: list[Path]) -> None:
    if len(found) > 1:
        raise InputError(
            "two studies have one name",
            given=" and ".join(map(str, found)),
            allowed="one place per subject and visit",
            cure="rename one of them, or take it out of the cohort's folder; put what tells them apart into {subject}",
            subject=subject,
            file=found[0],
        )
