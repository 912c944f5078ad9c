"""Plans: what a stage will compute, and why, before it computes anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionlab.stages.artifact import is_whole, read_unverified_receipt
from lesionlab.stages.fingerprints import fingerprint_of
from lesionlab.stages.subject_store import AWAY, SubjectStore

UNCHANGED, BACK = "unchanged", "brought back"
NEW, DAMAGED, FAILED, UNFINISHED = "new", "damaged", "failed before", "unfinished"
#: What a study may be made from, and so why it is made again.
INPUTS, PARAMETERS, CODE = "inputs", "parameters", "code"

_MADE_FROM = "made_from"


@dataclass(frozen=True)
class Sources:
    """What a study's result is made from, each as a fingerprint; kept in its receipt."""

    inputs: str
    parameters: str
    code: str

    @property
    def key(self) -> str:
        """The fingerprint of the result."""
        return fingerprint_of(self.inputs, self.parameters, self.code)

    def for_receipt(self) -> dict[str, dict[str, str]]:
        """The receipt's entry."""
        return {_MADE_FROM: {INPUTS: self.inputs, PARAMETERS: self.parameters, CODE: self.code}}

    def differences(self, receipt: Mapping[str, Any]) -> str:
        """Which of them differ from a receipt's: ``"parameters"``, ``"inputs and code"``."""
        before = receipt.get(_MADE_FROM, {})
        return " and ".join(name for name, now in self.for_receipt()[_MADE_FROM].items() if before.get(name) != now)


@dataclass(frozen=True)
class Plan:
    """What a stage will do.

    Attributes:
        stage: its name.
        keys: study to the fingerprint of its result.
        causes: study to why it is computed, ``UNCHANGED`` or ``BACK``.
        receipts: of the studies that are there already.
        away: studies in the store that the cohort does not hold any more.
        manifest: the store's manifest when the plan was made.
    """

    stage: str
    keys: Mapping[str, str]
    causes: Mapping[str, str]
    receipts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    away: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def todo(self) -> list[str]:
        """The studies to compute, in the stage's order."""
        return [study for study, cause in self.causes.items() if cause not in (UNCHANGED, BACK)]

    def returning(self) -> list[str]:
        """The studies that come back from ``.away`` as they are."""
        return [study for study, cause in self.causes.items() if cause == BACK]

    def failed_before(self) -> dict[str, str]:
        """The studies that failed or were held back, and why, when they were made from what they would be made now."""
        expected, failed = self.manifest.get("expected", {}), self.manifest.get("failed", {})
        return {study: failed[study] for study, key in self.keys.items() if study in failed and expected[study] == key}

    def likely_outputs(self) -> dict[str, str]:
        """The keys that the next stage is likely to find: all but those of :meth:`failed_before`."""
        failed = self.failed_before()
        return {study: key for study, key in self.keys.items() if study not in failed}

    def __str__(self) -> str:
        counts = Counter(self.causes.values())
        parts = [f"{counts.pop(name)} {name}" for name in (UNCHANGED, BACK, NEW) if counts[name]]
        ends = [f"{counts.pop(name)} {name}" for name in (DAMAGED, FAILED, UNFINISHED) if counts[name]]
        changed = sum(counts.values())
        if len(counts) == 1:
            parts.append(f"{changed} changed ({next(iter(counts))})")
        elif changed:
            parts.append(f"{changed} changed ({', '.join(f'{count} {name}' for name, count in counts.most_common())})")
        parts += ends + [f"{len(self.away)} taken away"] * bool(self.away)
        studies = f"{len(self.causes)} {'study' if len(self.causes) == 1 else 'studies'}"
        return f"{self.stage}: {studies}: {', '.join(parts)}"


def make_plan(root: Path, wanted: Mapping[str, Sources], stage: str) -> Plan:
    """Compare what a stage's folder holds with what it should; nothing is changed.

    Args:
        root: the stage's folder, there or not.
        wanted: study to what its result is to be made from.
        stage: its name.
    """
    manifest = SubjectStore(root).manifest() or {}
    keys = {study: sources.key for study, sources in wanted.items()}
    causes, receipts = {}, {}
    for study, sources in wanted.items():
        causes[study], receipt = _cause(root, study, sources, keys[study], manifest)
        if receipt is not None:
            receipts[study] = receipt
    return Plan(stage, keys, causes, receipts, tuple(_unexpected(root, wanted)), manifest)


def _cause(
    root: Path, study: str, sources: Sources, key: str, manifest: Mapping[str, Any]
) -> tuple[str, Mapping[str, Any] | None]:
    """What is to be done about a study, and the receipt of the result that can be used."""
    present = manifest.get("present", {}).get(study)
    if _fits(root / study, present, key):
        return UNCHANGED, present  # a run that replaces a study takes it off the manifest first
    receipt = read_unverified_receipt(root / study)
    if _fits(root / study, receipt, key):
        return UNCHANGED, receipt
    kept = read_unverified_receipt(root / AWAY / study)
    if _fits(root / AWAY / study, kept, key):
        return BACK, kept
    if study in manifest.get("failed", {}):
        return FAILED, None
    if receipt is not None:
        return sources.differences(receipt) or DAMAGED, None
    if present is not None or (root / study).exists():
        return DAMAGED, None
    return UNFINISHED if study in manifest.get("expected", {}) else NEW, None


def _fits(folder: Path, receipt: Mapping[str, Any] | None, key: str) -> bool:
    return receipt is not None and receipt["fingerprint"] == key and is_whole(folder, receipt)


def _unexpected(root: Path, wanted: Mapping[str, object]) -> list[str]:
    """The folders of studies that are not wanted; names that begin with . or _ are the store's own."""
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(
        path.name for path in folders if path.name[0] not in "._" and path.name not in wanted and path.is_dir()
    )


@dataclass(frozen=True)
class Link:
    """What the plan of a chain needs to know of one stage.

    Attributes:
        stage: its name.
        root: its folder.
        inputs: from the keys of the stages before (stage to study to fingerprint) to the inputs' fingerprints.
        parameters: fingerprint of its options and seed (see :func:`parameters_of`).
        code: fingerprint of its code (see :func:`code_of_stage`).
    """

    stage: str
    root: Path
    inputs: Callable[[Mapping[str, Mapping[str, str]]], Mapping[str, str]]
    parameters: str
    code: str


def parameters_of(options: object, seed: int = 0) -> str:
    """The fingerprint of a stage's options and seed."""
    return fingerprint_of(options, seed)


def plan_chain(links: Sequence[Link]) -> list[Plan]:
    """The plans of stages that read one another, before the first has computed anything.

    A stage's keys are made from those of the stage before, not from its files, so they are known beforehand. A study
    that failed or was held back, and would be made from the same again, is expected to fail again; others are not.
    """
    plans: dict[str, Plan] = {}
    for link in links:
        inputs = link.inputs({stage: plan.likely_outputs() for stage, plan in plans.items()})
        wanted = {study: Sources(found, link.parameters, link.code) for study, found in inputs.items()}
        plans[link.stage] = make_plan(link.root, wanted, link.stage)
    return list(plans.values())
