"""The pieces that networks of these papers share: norms, convolution and residual blocks, initialisation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lesionlab.networks.convolutions import OfManyChannels, ToFewChannels
from lesionlab.networks.layout import is_channels_last

Norm = Literal["batch", "instance"]
Upsampling = Literal["transposed", "resized"]

STEM_KERNEL = 7
STEM_PADDING = 3
CACHE_LINE = 16  # float32 numbers
INIT_STD = 0.02  # Radford et al. 2016, taken over by pix2pix, pix2pixHD and SAMR


class ReflectionPad(nn.ReflectionPad2d):
    """Reflection padding in the precision of its input: autocast on CPUs would take it in float32, there and back."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> ``(N, C, H + 2p, W + 2p)``, the same precision."""
        with torch.autocast(x.device.type, enabled=False):
            return functional.pad(x, self.padding, mode="reflect")


class BatchNorm(nn.BatchNorm2d):
    """Batch norm; maps of few channels are turned to contiguous and back where torch is slow at them as they are.

    Its channels-last kernel for CPUs keeps a sum per thread and channel, side by side: with fewer channels than a
    cache line holds, threads take the line from each other, and two need four times as long as one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> the same shape."""
        if x.device.type == "cpu" and x.shape[1] < CACHE_LINE and is_channels_last(x) and torch.get_num_threads() > 1:
            return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
        return super().forward(x)


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Batch norm, or instance norm without learnt scale (as pix2pixHD has it), over ``channels``."""
    if norm == "batch":
        return BatchNorm(channels)
    return nn.InstanceNorm2d(channels)


def stem(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """``(N, inputs, H, W)`` -> ``(N, outputs, H, W)``: reflect-pad 3, k7 s1, norm, ReLU."""
    return nn.Sequential(
        ReflectionPad(STEM_PADDING),
        nn.Conv2d(inputs, outputs, STEM_KERNEL, bias=False),  # the norm that follows would cancel a bias
        norm_layer(norm, outputs),
        nn.ReLU(inplace=True),
    )


def down_block(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """``(N, inputs, H, W)`` -> ``(N, outputs, H/2, W/2)``: k3 s2 p1, norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        norm_layer(norm, outputs),
        nn.ReLU(inplace=True),
    )


def up_block(inputs: int, outputs: int, norm: Norm, upsampling: Upsampling = "transposed") -> nn.Sequential:
    """``(N, inputs, H, W)`` -> ``(N, outputs, 2H, 2W)``: a convolution that doubles the sides, norm, ReLU.

    ``transposed``: k3 s2, output padding 1, whose kernel meets neighbouring pixels unequally often and leaves a grid
    (Odena et al. 2016); ``resized``: pixels doubled, then k3, whose kernel does not.
    """
    return nn.Sequential(*_doubling(inputs, outputs, upsampling), norm_layer(norm, outputs), nn.ReLU(inplace=True))


def _doubling(inputs: int, outputs: int, upsampling: Upsampling) -> list[nn.Module]:
    if upsampling == "resized":
        return [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
    return [nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=False)]


def image_head(inputs: int, outputs: int = 1) -> nn.Sequential:
    """``(N, inputs, H, W)`` -> images ``(N, outputs, H, W)`` in [-1, 1]: reflect-pad 3, k7, tanh."""
    convolution = ToFewChannels(inputs, outputs, STEM_KERNEL)
    return nn.Sequential(ReflectionPad(STEM_PADDING), convolution, InFloat32(nn.Tanh()))


class InFloat32(nn.Module):
    """An activation taken in float32: in bfloat16 a sigmoid is exactly 1, and its gradient 0, from 6 on."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, any precision -> the same shape, float32."""
        return self.activation(x.float())


class ResidualBlock(nn.Module):
    """x + (reflect-pad, k3, norm, ReLU, reflect-pad, k3, norm)(x); shape unchanged (Johnson et al. 2016)."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ReflectionPad(1),
            OfManyChannels(channels, channels, 3, bias=False),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            ReflectionPad(1),
            OfManyChannels(channels, channels, 3, bias=False),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` -> the same shape."""
        return x + self.body(x)


def residual_trunk(channels: int, blocks: int, norm: Norm) -> nn.Sequential:
    """``blocks`` residual blocks in a row; shape unchanged."""
    return nn.Sequential(*(ResidualBlock(channels, norm) for _ in range(blocks)))


def init_gan_weights(network: nn.Module) -> None:
    """Set convolutions to N(0, 0.02), batch norm scales to N(1, 0.02), every bias to 0, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, INIT_STD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, INIT_STD)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
