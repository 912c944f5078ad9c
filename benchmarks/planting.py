"""Failures to plant in a finished preprocessing run: each changes the volumes of one study as a real failure would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionlab.imaging.quality.lattice import lattice_around
from lesionlab.imaging.quality.symmetry import mid_plane
from lesionlab.imaging.resample import resample_like
from lesionlab.imaging.volume import Volume

Stages = dict[str, dict[str, Volume]]


@dataclass(frozen=True)
class Patient:
    """The study that fails, and another one, whose scans may be mistaken for its own."""

    stages: Mapping[str, Mapping[str, Volume]]
    other: Mapping[str, Mapping[str, Volume]]
    reference: str

    def sequence(self, rng: np.random.Generator) -> str:
        """Any sequence but the reference."""
        names = sorted(set(self.stages["coregister"]) - {self.reference, "lesion", "brain"})
        return str(rng.choice(names))

    def changed(self, stage: str, **volumes: Volume) -> Stages:
        """The study's stages with volumes of one stage replaced."""
        copied = {name: dict(content) for name, content in self.stages.items()}
        copied[stage] |= volumes
        return copied

    def centre(self) -> np.ndarray:
        """The brain's middle, RAS mm."""
        return _middle(self.stages["brain"]["brain"])


@dataclass(frozen=True)
class Planted:
    """A planted failure.

    Attributes:
        stages: the study with it.
        what: how strong, and on which sequence, in words.
    """

    stages: Stages
    what: str


@dataclass(frozen=True)
class Kind:
    """A kind of failure: the stage it happens at, whose measures are to find it, and how it is planted."""

    stage: str
    plant: Callable[[Patient, np.random.Generator], Planted]


def _middle(mask: Volume) -> np.ndarray:
    return mask.affine[:3, :3] @ np.argwhere(mask.data > 0).mean(axis=0) + mask.affine[:3, 3]


def _direction(rng: np.random.Generator) -> np.ndarray:
    way = rng.standard_normal(3)
    return way / np.linalg.norm(way)


def _moved(volume: Volume, matrix: np.ndarray, nearest: bool = False) -> Volume:
    """The volume displaced by a ``(4, 4)`` transform of RAS mm, on its own grid."""
    kind = "nearest" if nearest else "linear"
    return resample_like(Volume(volume.data, matrix @ volume.affine), volume, interpolation=kind, antialias=False)


def _shift(way: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = way
    return matrix


def _turn(axis: np.ndarray, degrees: float, centre: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


def registration_shift(patient: Patient, rng: np.random.Generator) -> Planted:
    """A sequence 4 to 15 mm off."""
    name, mm = patient.sequence(rng), rng.uniform(4, 15)
    moved = _moved(patient.stages["coregister"][name], _shift(mm * _direction(rng)))
    return Planted(patient.changed("coregister", **{name: moved}), f"{name} {mm:.1f} mm off")


def registration_turn(patient: Patient, rng: np.random.Generator) -> Planted:
    """A sequence turned by 5 to 20 degrees about the brain's middle."""
    name, degrees = patient.sequence(rng), rng.uniform(5, 20)
    matrix = _turn(_direction(rng), degrees, patient.centre())
    moved = _moved(patient.stages["coregister"][name], matrix)
    return Planted(patient.changed("coregister", **{name: moved}), f"{name} turned {degrees:.1f} degrees")


def other_subject(patient: Patient, rng: np.random.Generator) -> Planted:
    """Another person's scan in place of a sequence, its brain laid on this one's."""
    name = patient.sequence(rng)
    foreign = patient.other["coregister"][name]
    onto = _shift(patient.centre() - _middle(patient.other["brain"]["brain"]))
    moved = resample_like(Volume(foreign.data, onto @ foreign.affine), patient.stages["brain"]["brain"])
    return Planted(patient.changed("coregister", **{name: moved}), f"{name} of another subject")


def sequence_flipped(patient: Patient, rng: np.random.Generator) -> Planted:
    """Left and right of a sequence swapped, and then well aligned: mirrored in the brain's own mid-plane."""
    name = patient.sequence(rng)
    moved = _moved(patient.stages["coregister"][name], _mirror(patient))
    return Planted(patient.changed("coregister", **{name: moved}), f"{name} mirrored")


def _mirror(patient: Patient) -> np.ndarray:
    lattice = lattice_around(patient.stages["brain"]["brain"])
    return mid_plane(lattice.sampled(patient.stages["coregister"][patient.reference]), lattice)


def noise(patient: Patient, rng: np.random.Generator) -> Planted:
    """Five times the phantom's noise on a sequence: 10 % of the brain's signal, Rician."""
    name = patient.sequence(rng)
    volume = patient.stages["coregister"][name]
    level = 0.1 * float(np.median(volume.data[patient.stages["brain"]["brain"].data > 0]))
    noisy = np.hypot(volume.data + rng.normal(0, level, volume.shape), rng.normal(0, level, volume.shape))
    return Planted(patient.changed("coregister", **{name: volume.like(noisy.astype(np.float32))}), f"{name} noisy")


def slab(patient: Patient, rng: np.random.Generator) -> Planted:
    """A sequence that sees 40 to 80 % of the brain's height."""
    name, share = patient.sequence(rng), rng.uniform(0.4, 0.8)
    volume = patient.stages["coregister"][name]
    planes = np.flatnonzero(patient.stages["brain"]["brain"].data.any(axis=(0, 1)))
    cut = int(planes[0] + share * len(planes))
    data = volume.data.copy()
    data[:, :, cut:] = 0
    return Planted(patient.changed("coregister", **{name: volume.like(data)}), f"{name} sees {share:.0%}")


def _brain(patient: Patient, data: np.ndarray, what: str) -> Planted:
    mask = patient.stages["brain"]["brain"]
    return Planted(patient.changed("brain", brain=mask.like(data.astype(mask.data.dtype))), what)


def mask_dilated(patient: Patient, rng: np.random.Generator) -> Planted:
    """The brain mask two or three voxels too large within its planes."""
    voxels = int(rng.integers(2, 4))
    grown = ndimage.binary_dilation(patient.stages["brain"]["brain"].data > 0, _in_plane(), iterations=voxels)
    return _brain(patient, grown, f"{voxels} voxels too large")


def mask_eroded(patient: Patient, rng: np.random.Generator) -> Planted:
    """The brain mask two or three voxels too small within its planes."""
    voxels = int(rng.integers(2, 4))
    left = ndimage.binary_erosion(patient.stages["brain"]["brain"].data > 0, _in_plane(), iterations=voxels)
    return _brain(patient, left, f"{voxels} voxels too small")


def _in_plane() -> np.ndarray:
    return ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[None, None, :]


def mask_shifted(patient: Patient, rng: np.random.Generator) -> Planted:
    """The brain mask 6 to 15 mm off within its planes."""
    mm, angle = rng.uniform(6, 15), rng.uniform(0, 2 * np.pi)
    way = mm * np.array([np.cos(angle), np.sin(angle), 0])
    return _brain(patient, _moved(patient.stages["brain"]["brain"], _shift(way), nearest=True).data, f"{mm:.1f} mm off")


def mask_part_missing(patient: Patient, rng: np.random.Generator) -> Planted:
    """A ball of 25 to 35 mm at the surface of one hemisphere missing from the brain mask."""
    mask, radius = patient.stages["brain"]["brain"], rng.uniform(25, 35)
    places = np.argwhere(mask.data > 0) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    sideways = np.sign(rng.uniform(-1, 1)) * np.array([1.0, 0.0, 0.0]) + np.array([0.0, rng.uniform(-1, 1), 0.4])
    middle = places[(places @ sideways).argmax()]
    voxels = np.argwhere(np.ones(mask.shape, bool)) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    far = (np.linalg.norm(voxels - middle, axis=1) > radius).reshape(mask.shape)
    return _brain(patient, (mask.data > 0) & far, f"ball of {radius:.0f} mm missing")


def bias_inverted(patient: Patient, rng: np.random.Generator) -> Planted:
    """A sequence multiplied by its bias field instead of divided."""
    name = patient.sequence(rng)
    done = patient.stages["bias"]
    wrong = done[name].data * np.exp(2 * done[f"field_{name}"].data)
    return Planted(patient.changed("bias", **{name: done[name].like(wrong.astype(np.float32))}), f"{name} inverted")


def wrong_landmarks(patient: Patient, rng: np.random.Generator) -> Planted:
    """A sequence standardized with the landmarks of another sequence."""
    done = patient.stages["standardize"]
    name = patient.sequence(rng)
    others = sorted(set(done) - {name, "brain", "lesion"})
    taken = str(rng.choice(others))
    inside = done["brain"].data > 0
    ranks = np.linspace(0, 100, 101)
    own, foreign = (np.percentile(done[key].data[inside], ranks) for key in (name, taken))
    data = np.where(inside, np.interp(done[name].data, own, foreign), 0).astype(np.float32)
    return Planted(patient.changed("standardize", **{name: done[name].like(data)}), f"{name} by those of {taken}")


def grid_cropped(patient: Patient, rng: np.random.Generator) -> Planted:
    """A grid too narrow for the brain: 12 to 25 % of its width lost."""
    share = rng.uniform(0.12, 0.25)
    columns = np.flatnonzero(patient.stages["grid"]["brain"].data.any(axis=(1, 2)))
    cut = int(columns[0] + share * len(columns))
    cropped = {name: _without_columns(volume, cut) for name, volume in patient.stages["grid"].items()}
    return Planted(patient.changed("grid", **cropped), f"{share:.0%} of the width lost")


def _without_columns(volume: Volume, cut: int) -> Volume:
    return Volume(volume.data[cut:], volume.affine @ _shift(np.array([cut, 0, 0])))


def lesion_mirrored(patient: Patient, _: np.random.Generator) -> Planted:
    """The lesion mask on the other side."""
    mask = patient.stages["coregister"]["lesion"]
    return Planted(patient.changed("coregister", lesion=_moved(mask, _mirror(patient), nearest=True)), "mirrored")


def lesion_shifted(patient: Patient, rng: np.random.Generator) -> Planted:
    """The lesion mask 8 to 20 mm off within its planes."""
    mask, mm, angle = patient.stages["coregister"]["lesion"], rng.uniform(8, 20), rng.uniform(0, 2 * np.pi)
    way = mm * np.array([np.cos(angle), np.sin(angle), 0])
    return Planted(patient.changed("coregister", lesion=_moved(mask, _shift(way), nearest=True)), f"{mm:.1f} mm off")


def tissues_permuted(patient: Patient, rng: np.random.Generator) -> Planted:
    """Two of the three tissue maps under each other's name."""
    first, second = (str(name) for name in rng.choice(["CSF", "GM", "WM"], 2, replace=False))
    maps = patient.stages["tissues"]
    return Planted(patient.changed("tissues", **{first: maps[second], second: maps[first]}), f"{first} for {second}")


def atlas_misaligned(patient: Patient, rng: np.random.Generator) -> Planted:
    """The atlas 8 to 15 mm and 5 to 15 degrees off."""
    mm, degrees = rng.uniform(8, 15), rng.uniform(5, 15)
    matrix = _shift(mm * _direction(rng)) @ _turn(_direction(rng), degrees, patient.centre())
    moved = {name: _moved(volume, matrix) for name, volume in patient.stages["atlas"].items()}
    return Planted(patient.changed("atlas", **moved), f"{mm:.1f} mm and {degrees:.0f} degrees off")


KINDS: dict[str, Kind] = {
    "registration off by 4-15 mm": Kind("coregister", registration_shift),
    "registration off by 5-20 degrees": Kind("coregister", registration_turn),
    "another subject's scan": Kind("coregister", other_subject),
    "sequence mirrored": Kind("coregister", sequence_flipped),
    "noise times five": Kind("coregister", noise),
    "slab": Kind("coregister", slab),
    "brain mask too large": Kind("brain", mask_dilated),
    "brain mask too small": Kind("brain", mask_eroded),
    "brain mask shifted": Kind("brain", mask_shifted),
    "brain mask lacks a part": Kind("brain", mask_part_missing),
    "bias field inverted": Kind("bias", bias_inverted),
    "wrong landmarks": Kind("standardize", wrong_landmarks),
    "grid cropped": Kind("grid", grid_cropped),
    "lesion mask mirrored": Kind("coregister", lesion_mirrored),
    "lesion mask shifted": Kind("coregister", lesion_shifted),
    "tissue maps permuted": Kind("tissues", tissues_permuted),
    "atlas misaligned": Kind("atlas", atlas_misaligned),
}
