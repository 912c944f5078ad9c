"""Shin et al.: pix2pix from lesions and tissue maps to all sequences (SASHIMI 2018).

The anatomy is given by maps of grey matter, white matter and fluid of the subject itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from lesionlab.methods.base import Prior, Task
from lesionlab.methods.pix2pix import Pix2Pix
from lesionlab.networks.labels import one_hot
from lesionlab.networks.layout import join_channels
from lesionlab.slices.batches import TISSUES, Batch, Stream

WITHOUT_LESION = 2  # labels 0 and 1, of which the tissue maps tell more


class Shin(Pix2Pix):
    """pix2pix on lesion classes, CSF, GM and WM; a ``Synthesizer`` with the tissue maps as prior."""

    name: ClassVar[str] = "shin"
    title: ClassVar[str] = "Shin et al."
    paper: ClassVar[str] = (
        "Shin HC, Tenenholtz NA, Rogers JK, et al. Medical Image Synthesis for Data Augmentation and Anonymization "
        "Using Generative Adversarial Networks. SASHIMI 2018. doi:10.1007/978-3-030-00536-8_1"
    )
    streams: ClassVar[Mapping[str, Stream]] = {"slices": Stream(fields=("images", "labels", "tissues"))}
    prior: ClassVar[Prior | None] = "tissues"

    @classmethod
    def seen_channels(cls, task: Task) -> int:
        """Lesion classes and tissues."""
        return task.classes - WITHOUT_LESION + TISSUES

    def condition(self, batch: Batch) -> Tensor:
        """x, ``(N, K - 2 + 3, H, W)``: the lesion classes one-hot, and the maps of CSF, GM and WM outside of them.

        A pixel has a lesion class or tissues, as in the paper's label map: what a segmentation of tissues finds in a
        lesion would tell how it looks, and would contradict a lesion that was moved.
        """
        lesions = one_hot(batch.labels, self.task.classes)[:, WITHOUT_LESION:]
        healthy = (batch.labels < WITHOUT_LESION).unsqueeze(1)
        return join_channels([lesions, batch.tissues * healthy], batch.tissues)
