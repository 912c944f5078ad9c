"""Where an experiment's data lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kedro.io import AbstractDataset, DatasetError


@dataclass(frozen=True)
class Folders:
    """The folders of one experiment.

    Attributes:
        workspace: what does not depend on the split (scans, cohort, stages up to the bias correction).
        results: what does (everything later); the same folder unless the experiment has folds.
    """

    workspace: Path
    results: Path

    @property
    def scans(self) -> Path:
        """Raw scans that lesionlab itself makes."""
        return self.workspace / "01_raw"

    def shared_stage(self, stage: str) -> Path:
        """The store of a stage that every split shares."""
        return self.workspace / "03_primary" / stage

    def stage(self, stage: str) -> Path:
        """The store of a stage that saw the training split."""
        return self.results / "03_primary" / stage

    def features(self, name: str) -> Path:
        """Slices made from the stages."""
        return self.results / "04_feature" / name

    def model(self, name: str) -> Path:
        """Checkpoints and curves of one training."""
        return self.results / "06_models" / name

    @property
    def reporting(self) -> Path:
        """Tables, figures and pages."""
        return self.results / "08_reporting"


class FoldersDataset(AbstractDataset[None, Folders]):
    """The experiment's folders as a node input.

    Args:
        workspace: the experiment's folder, as ``{"path": ...}``: Kedro makes a ``path`` absolute within the project,
            so that runs started from any folder write to the same place.
        results: the fold's folder, or the same.
    """

    def __init__(
        self, *, workspace: dict[str, str], results: dict[str, str], metadata: dict[str, object] | None = None
    ) -> None:
        self._folders = Folders(Path(workspace["path"]), Path(results["path"]))
        self.metadata = metadata

    def load(self) -> Folders:
        """The folders."""
        return self._folders

    def save(self, data: None) -> None:
        """Folders are configuration: nothing saves them."""
        raise DatasetError("folders come from the configuration and cannot be saved")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, str]:
        return {"workspace": str(self._folders.workspace), "results": str(self._folders.results)}
