"""Multi-scale label-wise discriminators (CG-SAMR, section III-C; PatchGAN of pix2pix, pyramid of pix2pixHD)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # that of several GPUs too

from lesionlab.networks.blocks import Norm, norm_layer
from lesionlab.networks.layout import in_autocast, join_channels, laid_out_like

LEAK = 0.2
KERNEL = 4
PADDING = 2
INNER_STRIDES = (2, 2, 1)
SCALES = 2

Features = list[Tensor]


class PatchGAN(nn.Module):
    """Five convolutions: width, 2, 4, 8 times the width, 1; strides 2, 2, 2, 1, 1; norm on the inner layers.

    A logit depends on 70 x 70 pixels. ``padding`` is 1 in pix2pix, 2 in pix2pixHD and the systems that follow it.
    """

    def __init__(self, inputs: int, width: int, norm: Norm, padding: int = PADDING) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(inputs, width, KERNEL, 2, padding), nn.LeakyReLU(LEAK, inplace=True))
        ]
        for stride in INNER_STRIDES:
            layers.append(
                nn.Sequential(
                    nn.Conv2d(width, 2 * width, KERNEL, stride, padding, bias=False),
                    norm_layer(norm, 2 * width),
                    nn.LeakyReLU(LEAK, inplace=True),
                )
            )
            width *= 2
        layers.append(nn.Conv2d(width, 1, KERNEL, 1, padding))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, parts: int = 1) -> Features:
        """``(N, inputs, H, W)`` -> the five layers' outputs; the last are logits, one per patch.

        ``parts`` equal parts of the batch, one after the other, are judged as if each came alone: convolutions take
        them together, batch norm each by its own statistics.
        """
        outputs: Features = []
        for layer in self.layers:
            x = layer(x) if parts == 1 else part_by_part(layer, x, parts)
            outputs.append(x)
        return outputs


def part_by_part(layer: nn.Module, x: Tensor, parts: int) -> Tensor:
    """``layer``, its batch norm for each part of the batch ``x`` apart."""
    for step in layer if isinstance(layer, nn.Sequential) else [layer]:
        x = torch.cat([step(part) for part in x.chunk(parts)]) if isinstance(step, _BatchNorm) else step(x)
    return x


class LabelWiseDiscriminators(nn.Module):
    """A discriminator for each region of interest at each of two scales: D_1 .. D_6 for three regions.

    They are in the paper's order: region by region, the full scale before the half. Views are made apart from
    judging them, because those of label map, prior and real images serve several passes of a training step.

    Args:
        inputs: channels of label map, prior and images together.
        regions: number of regions of interest.
        width: feature maps of the first layer (64 in full size).
        norm: ``batch`` or ``instance``.
    """

    def __init__(self, inputs: int, regions: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(PatchGAN(inputs, width, norm) for _ in range(regions * SCALES))
        self.halve = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)

    def views(self, x: Tensor, masks: Tensor) -> list[Tensor]:
        """What each discriminator sees of ``x`` ``(N, channels, H, W)``, in the order D_1 .. D_6.

        ``masks`` ``(N, regions, H, W)`` of zeros and ones are applied first, at full size; the half scale is
        pooled from what is left. Neither argument is changed.
        """
        x, seen = in_autocast(x), []
        masks = masks.to(x.dtype)  # or their float32 would make every view float32
        for region in range(masks.shape[1]):
            mask = masks[:, region : region + 1].expand_as(x)
            seen.append(x * laid_out_like(mask, x))  # one mask for all channels would be read pixel by pixel
            for _ in range(SCALES - 1):
                seen.append(self.halve(seen[-1]))
        return seen

    def forward(self, views: list[Tensor], parts: int = 1) -> list[Features]:
        """Each discriminator's layers on its own view of label map, prior and images together."""
        return [judge(view, parts) for judge, view in zip(self.discriminators, views, strict=True)]


def join(conditions: list[Tensor], images: list[Tensor]) -> list[Tensor]:
    """Put label map and prior before the images, view by view."""
    return [join_channels(list(pair), pair[0]) for pair in zip(conditions, images, strict=True)]
