"""CG-SAMR: SAMR guided by coarse images and the confidence in them (Guo et al., IEEE TMI 2021).

Beyond SAMR each branch has a synthesis module (SM) and a confidence map module (CM), and the loss a term for them.
Encoder and decoder are laid out otherwise.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field
from torch import Tensor

from lesionlab.losses.confidence import LambdaRule, confidence_loss, shrink
from lesionlab.methods.samr import SAMR, Generator, GeneratorOptions, LossWeights, SAMROptions
from lesionlab.networks.decoder import DecoderShape, GuidancePlace, Synthesis


class GuidedGeneratorOptions(GeneratorOptions):
    """The generator's size and layout; the defaults are CG-SAMR's, f full size."""

    downs: int = Field(4, ge=2, description="n: strided layers; slice sides must be multiples of 2^n")
    encoder_blocks: int = Field(3, ge=0, description="residual blocks after the encoders")
    decoder_blocks: int = Field(3, ge=0, description="residual blocks before the branches")
    branch_blocks: int = Field(0, ge=0, description="residual blocks at the beginning of each branch")
    guidance: GuidancePlace | None = Field(
        "half",
        description="where SM and CM sit: before the last up-sampling, or after the first as in the released file; "
        "null: there are none (ablation)",
    )
    guidance_init: Literal["he", "normal"] = Field(
        "he", description="first weights of SM and CM, which have no norm layers; normal: N(0, 0.02) as elsewhere"
    )
    share_guidance: bool = Field(False, description="one SM/CM pair for all branches, as in the released file")

    def decoder(self, classes: int) -> DecoderShape:
        """The layout of the decoder, for label maps of so many classes."""
        return super().decoder(classes).model_copy(update={"guidance": self.guidance, "share": self.share_guidance})


class GuidedLossWeights(LossWeights):
    """Weights of the terms of Eq. 6: 1 for the adversarial one, then lambda_1 to lambda_3. 0 leaves a term out."""

    confidence: float = Field(1.0, ge=0, description="lambda_3; 0 leaves SM and CM without a teacher (ablation)")


class CGSAMROptions(SAMROptions):
    """All of CG-SAMR's options."""

    generator: GuidedGeneratorOptions = GuidedGeneratorOptions()  # type: ignore[call-arg]
    weights: GuidedLossWeights = GuidedLossWeights()  # type: ignore[call-arg]
    lambda_cm: LambdaRule = LambdaRule()  # type: ignore[call-arg]


class CGSAMR(SAMR):
    """Confidence-guided lesion-mask-based simultaneous synthesis; a ``Synthesizer`` with the atlas as prior."""

    name: ClassVar[str] = "cgsamr"
    title: ClassVar[str] = "CG-SAMR"
    paper: ClassVar[str] = (
        "Guo P, Wang P, Yasarla R, Zhou J, Patel VM, Jiang S. Anatomic and Molecular MR Image Synthesis Using "
        "Confidence Guided CNNs. IEEE Transactions on Medical Imaging 40(10), 2021. doi:10.1109/TMI.2020.3046460"
    )
    Options: ClassVar[type[BaseModel]] = CGSAMROptions
    # Tables I and II: their order in every lesion class.
    claims: ClassVar[tuple[tuple[str, str], ...]] = (
        ("cgsamr", "samr"),
        ("samr", "shin"),
        ("shin", "pix2pixhd"),
        ("pix2pixhd", "pix2pix"),
    )

    options: CGSAMROptions

    def _generator(self) -> Generator:
        made = super()._generator()
        if self.options.generator.guidance_init == "he":
            for guide in made.decoder.guides:
                guide.initialise()  # type: ignore[operator]
        return made

    def _guidance(self, real: Tensor, made: Synthesis) -> dict[str, Tensor]:
        """Eq. 1, with lambda_cm decided anew for this batch; nothing without SM and CM."""
        if made.coarse is None or made.confidence is None:
            return {}
        weight = self.options.lambda_cm.weight(made.confidence)
        target = shrink(real, made.coarse)
        return {
            "G/confidence": confidence_loss(made.confidence, made.coarse, target, weight),
            "mean_confidence": made.confidence.mean(),
            "lambda_cm": weight,
        }

    def learnt_lambda(self, history: pd.DataFrame) -> float:
        """lambda_cm as the confidence maps have learnt it, which decides the confidence that Eq. 1 asks for.

        The rule goes to and fro between its two values, step by step: what it comes to is the mean over the last half
        of the training, each step counting as its rate. Of a checkpoint chosen as the best of earlier steps it is only
        about right. NaN where Eq. 1 was no part of the loss.

        Args:
            history: of the training, columns ``step, name, value``.
        """
        if not self.options.weights.confidence:
            return float("nan")
        table = history.pivot_table(index="step", columns="name", values="value")[["lambda_cm", "rate/G"]].dropna()
        late = table[table.index > table.index.max() / 2]
        return float(np.average(late["lambda_cm"], weights=late["rate/G"]))
