"""The preprocessing chain as one would write it by hand: a serial ANTsPy script, every call with its defaults.

The yardstick of benchmarks/preprocess.py: the same steps in the same order on the same phantom, one subject after the
other in one process, with ITK's own threads on every core. Brain masks come from deepbet, as ours; Nyul's landmarks are
learnt and applied with NumPy; the template is ``ants.build_template`` of T1w, its other sequences follow T1w's warps.

Command: python benchmarks/plain_antspy.py SCANS OUT.json --subjects 8 --training 5
         SCANS is a phantom's folder (data/01_raw/phantom); OUT.json gets seconds by step and the scores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
from nilearn import datasets

from lesionlab.metrics import truth as measure

SEQUENCES = ("T1w", "T1ce", "T2w", "FLAIR", "APTw")
REFERENCE = "T1w"
TISSUES = ("CSF", "GM", "WM")
PERCENTILES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
GRID_MM, GRID_SIZE = 2.0, (80, 96)
ROUNDS = 2  # of the template
PRIOR_WEIGHT = 0.25
SPREAD = 100.0  # Atropos takes a small variance for none
LESION_LABEL = 2

Study = dict[str, ants.ANTsImage]


def main() -> None:
    """Run the chain and write seconds and scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--training", type=int, default=5, help="so many make template and landmarks")
    options = parser.parse_args()
    folders = sorted(folder for folder in options.scans.iterdir() if (folder / "truth").is_dir())
    chain = Chain(folders[: options.subjects], options.training)
    chain.run()
    result = {"seconds": dict(chain.seconds), "total": sum(chain.seconds.values()), "scores": chain.scores()}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class Chain:
    """All subjects' images, step by step."""

    def __init__(self, folders: list[Path], training: int) -> None:
        self.folders, self.training = folders, training
        self.seconds: dict[str, float] = defaultdict(float)
        self.marks: dict[str, list[float]] = defaultdict(list)
        self.studies: list[Study] = []
        self.masks: list[ants.ANTsImage] = []
        self.grids: list[Study] = []
        self.grid_masks: list[ants.ANTsImage] = []
        self.atlases: list[Study] = []
        self.tissues: list[Study] = []

    def run(self) -> None:
        """Step by step, each over all subjects."""
        for folder in self.folders:
            self._to_corrected(folder)
        with self._timed("standardize"):
            self._standardize()
        with self._timed("grid"):
            self._to_grid()
        with self._timed("atlas"):
            self._atlas()
        with self._timed("tissues"):
            self.tissues = [segment(study, mask) for study, mask in zip(self.grids, self.grid_masks, strict=True)]

    def scores(self) -> dict[str, float]:
        """Medians over subjects of the measures of truth.csv."""
        for index, folder in enumerate(self.folders):
            self._score(index, folder)
        return {name: float(np.median(values)) for name, values in self.marks.items()}

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - start
        print(f"{step}: {self.seconds[step]:.0f} s", flush=True)

    def _to_corrected(self, folder: Path) -> None:
        """Co-registration, brain extraction and N4 of one subject."""
        scans = {name: ants.image_read(str(folder / f"{name}.nii.gz")) for name in SEQUENCES}
        fixed, known = scans[REFERENCE], json.loads((folder / "record.json").read_text(encoding="utf-8"))
        truth, moved = folder / "truth", {}
        with self._timed("coregister"):
            for name, scan in scans.items():
                if name == REFERENCE:
                    moved[name] = scan
                    continue
                found = ants.registration(fixed, scan, type_of_transform="Rigid")
                moved[name] = ants.apply_transforms(fixed, scan, found["fwdtransforms"])
                true = np.array(known["transforms"][name])
                self.marks[f"tre_mm_{name}"].append(registration_error(found["fwdtransforms"][0], true, truth))
        with self._timed("brain"):
            mask = brain_mask(folder / f"{REFERENCE}.nii.gz", fixed)
            stripped = {name: image * mask for name, image in moved.items()}
        with self._timed("bias"):
            corrected = {name: ants.n4_bias_field_correction(image, mask=mask) for name, image in stripped.items()}
        self._score_bias(stripped, corrected, truth)
        self.studies.append(corrected)
        self.masks.append(mask)

    def _score_bias(self, before: Study, after: Study, truth: Path) -> None:
        inside = read(truth / "brain") > 0
        for name in SEQUENCES:
            one, other = before[name].numpy(), after[name].numpy()
            usable = inside & (one > 0) & (other > 0)
            found = np.log(np.where(usable, one, 1) / np.where(usable, other, 1))
            true = np.log(read(truth / f"bias_{name}"))
            self.marks[f"log_field_correlation_{name}"].append(measure.bias_correlation(found, true, usable))

    def _standardize(self) -> None:
        """Nyul's landmarks of the training subjects, applied to all."""
        for name in SEQUENCES:
            marks = [
                np.percentile(study[name].numpy()[mask.numpy() > 0], PERCENTILES)
                for study, mask in zip(self.studies, self.masks, strict=True)
            ]
            scaled = [(one - one[0]) / (one[-1] - one[0]) for one in marks[: self.training]]
            scale = np.mean(scaled, axis=0)
            for study, mask, own in zip(self.studies, self.masks, marks, strict=True):
                data = np.interp(study[name].numpy(), own, scale) * (mask.numpy() > 0)
                study[name] = mask.new_image_like(data.astype(np.float32))

    def _to_grid(self) -> None:
        for study, mask in zip(self.studies, self.masks, strict=True):
            grid = upright_grid(mask)
            self.grids.append({name: ants.apply_transforms(grid, image, []) for name, image in study.items()})
            self.grid_masks.append(ants.apply_transforms(grid, mask, [], interpolator="nearestNeighbor"))

    def _atlas(self) -> None:
        training = self.grids[: self.training]
        template = ants.build_template(image_list=[study[REFERENCE] for study in training], iterations=ROUNDS)
        found = [ants.registration(template, study[REFERENCE])["fwdtransforms"] for study in training]
        every = {REFERENCE: template}
        for name in SEQUENCES[1:]:
            warped = [
                ants.apply_transforms(template, study[name], way).numpy()
                for study, way in zip(training, found, strict=True)
            ]
            every[name] = template.new_image_like(np.mean(warped, axis=0))
        for study in self.grids:
            way = ants.registration(study[REFERENCE], template, type_of_transform="Affine")["fwdtransforms"]
            self.atlases.append(
                {name: ants.apply_transforms(study[REFERENCE], image, way) for name, image in every.items()}
            )

    def _score(self, index: int, folder: Path) -> None:
        truth = folder / "truth"
        known = {name: ants.image_read(str(truth / f"{name}.nii.gz")) for name in ("brain", "label", *TISSUES)}
        mask = self.masks[index].numpy()
        self.marks["brain_dice"].append(measure.brain_dice(mask, known["brain"].numpy()))
        normal = known["label"].new_image_like(
            ((known["label"].numpy() > 0) & (known["label"].numpy() < LESION_LABEL)).astype(np.float32)
        )
        grid = self.grid_masks[index]
        healthy = ants.apply_transforms(grid, normal, [], interpolator="nearestNeighbor").numpy()
        if index >= self.training:
            for name in SEQUENCES:
                pair = self.atlases[index][name].numpy(), self.grids[index][name].numpy()
                self.marks[f"atlas_correlation_{name}"].append(measure.image_correlation(*pair, healthy))
        true = {name: ants.apply_transforms(grid, known[name], []).numpy() for name in TISSUES}
        found = {name: image.numpy() for name, image in self.tissues[index].items()}
        for name, dice in measure.tissue_dice(found, true, (healthy > 0) & (grid.numpy() > 0)).items():
            self.marks[f"tissue_dice_{name}"].append(dice)


def brain_mask(path: Path, like: ants.ANTsImage) -> ants.ANTsImage:
    """deepbet's mask of a scan."""
    from deepbet import run_bet

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "mask.nii.gz"
        run_bet([str(path)], mask_paths=[str(out)], threshold=0.5, n_dilate=0, no_gpu=True)
        return like.new_image_like((ants.image_read(str(out)).numpy() > 0).astype(np.float32))


def upright_grid(mask: ants.ANTsImage) -> ants.ANTsImage:
    """An empty image of 80 x 96 pixels of 2 mm, the planes as scanned, centred on the brain."""
    upright = ants.reorient_image2(mask, "LPI")
    places = np.argwhere(upright.numpy() > 0)
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    middle[2] = (upright.shape[2] - 1) / 2
    direction, spacing = upright.direction, np.array([GRID_MM, GRID_MM, upright.spacing[2]])
    shape = np.array([*GRID_SIZE, upright.shape[2]])
    centre = np.array(upright.origin) + direction @ (middle * upright.spacing)
    origin = centre - direction @ ((shape - 1) / 2 * spacing)
    return ants.from_numpy(np.zeros(shape, np.float32), origin.tolist(), spacing.tolist(), direction)


def segment(study: Study, mask: ants.ANTsImage) -> Study:
    """Tissue probabilities: MNI152 warped to the subject, its maps as priors of Atropos."""
    loaders = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    template, gray, white = (from_nibabel(load(resolution=1)) for load in loaders)
    way = ants.registration(study[REFERENCE], template)["fwdtransforms"]
    shares = [np.clip(ants.apply_transforms(mask, each, way).numpy(), 0, 1) for each in (gray, white)]
    shares = [np.clip(1 - shares[0] - shares[1], 0, 1), *shares]
    # Atropos reads its priors from files, whose rounded geometry has to be the image's: none is left to round.
    image, brain, *priors = (bare(each) for each in (study[REFERENCE].numpy() * SPREAD, mask.numpy(), *shares))
    found = ants.atropos(image, brain, i=priors, m="[0.1,1x1x1]", c="[3,0]", priorweight=PRIOR_WEIGHT)
    return {
        name: mask.new_image_like(each.numpy()) for name, each in zip(TISSUES, found["probabilityimages"], strict=True)
    }


def bare(data: np.ndarray) -> ants.ANTsImage:
    """Voxels without a place in the world."""
    return ants.from_numpy(np.ascontiguousarray(data, np.float32))


def from_nibabel(image: nib.Nifti1Image) -> ants.ANTsImage:
    """A nilearn template as ANTs image, through a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii.gz"
        nib.save(image, path)
        return ants.image_read(str(path))


def registration_error(transform: str, true: np.ndarray, truth: Path) -> float:
    """Mean distance in mm of a found ANTs transform from the true one (RAS), over the brain."""
    image = nib.load(truth / "brain.nii.gz")
    points = measure.voxel_centres(np.asarray(image.dataobj) > 0, image.affine)
    flip = np.diag([-1.0, -1.0, 1.0])
    known = ants.read_transform(transform)
    linear, shift = np.array(known.parameters[:9]).reshape(3, 3), np.array(known.parameters[9:12])
    centre = np.array(known.fixed_parameters)
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = linear, shift + centre - linear @ centre
    ras = np.eye(4)
    ras[:3, :3], ras[:3, 3] = flip @ lps[:3, :3] @ flip, flip @ lps[:3, 3]
    return measure.target_registration_error(ras, true, points)


def read(path: Path) -> np.ndarray:
    """Voxels of one of the truth's volumes."""
    return np.asarray(nib.load(path.with_name(f"{path.name}.nii.gz")).dataobj)


if __name__ == "__main__":
    main()
