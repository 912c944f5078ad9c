"""Convolutions that compute the same in another order, where the CPU library's own order is slow.

Weights, shapes and state dicts are those of ``torch.nn.Conv2d``; on other devices it does the work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

from lesionlab.networks.layout import FROM_LAST, TO_LAST, in_autocast, is_channels_last

FEW = 3  # pixels for each channel, below which the product is faster (measured with AMX)


class ToFewChannels(nn.Conv2d):
    """A convolution of stride 1 without padding that ends in very few channels, such as an image head's.

    oneDNN computes no fewer than 16 output channels, and throws away what it was not asked for. Here the columns of
    the kernel become output channels of a convolution one pixel wide, and their results are added up, each shifted by
    its column: same products, a quarter of the time for one channel and 7 x 7.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H - k + 1, W - k + 1)``; float32 from a CPU."""
        if x.device.type != "cpu":
            return super().forward(x)
        outputs, inputs, height, width = self.weight.shape
        columns = self.weight.permute(0, 3, 1, 2).reshape(outputs * width, inputs, height, 1)
        made = ShiftedSum.apply(functional.conv2d(x, columns), width)
        return made if self.bias is None else made + self.bias.view(-1, 1, 1)


class ShiftedSum(torch.autograd.Function):
    """Adds up columns: ``(N, outputs * k, H, W + k - 1)`` -> ``(N, outputs, H, W)`` float32, channels-last."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, width: int) -> Tensor:
        """Output ``o`` at column ``j`` is the sum over ``d < k`` of channel ``o k + d`` at ``j + d``."""
        ctx.shape, ctx.dtype, ctx.width = columns.shape, columns.dtype, width
        return (
            ShiftedSum.shifted(columns.permute(TO_LAST).contiguous(), width)
            .sum(-1, dtype=torch.float32)
            .permute(FROM_LAST)
        )

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Each column receives the gradient of the sum, shifted back."""
        count, channels, height, length = ctx.shape
        columns = grad.new_zeros(count, height, length, channels, dtype=ctx.dtype)
        ShiftedSum.shifted(columns, ctx.width).copy_(grad.permute(TO_LAST).unsqueeze(-1))
        return columns.permute(FROM_LAST), None

    @staticmethod
    def shifted(columns: Tensor, width: int) -> Tensor:
        """``(N, H, W + k - 1, outputs * k)`` contiguous -> its view ``(N, H, W, outputs, k)`` of what adds up."""
        count, height, length, channels = columns.shape
        strides = (height * length * channels, length * channels, channels, width, channels + 1)
        return columns.as_strided((count, height, length - width + 1, channels // width, width), strides)


class OfManyChannels(nn.Conv2d):
    """A convolution of stride 1 without padding between many channels at few pixels, such as a trunk's.

    There oneDNN's gradient of the weights takes several times as long as its products would, and returns them in a
    layout that has to be turned twice. Here it is one matrix product, in bfloat16 on CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` -> ``(N, outputs, H - k + 1, W - k + 1)``."""
        x = in_autocast(x)
        pixels = x.shape[0] * (x.shape[2] - self.kernel_size[0] + 1) * (x.shape[3] - self.kernel_size[1] + 1)
        if in_lower_precision_on_cpu(x) and self.bias is None and pixels < FEW * self.out_channels:
            return ByMatrixProduct.apply(x, self.weight)
        return super().forward(x)


class ByMatrixProduct(torch.autograd.Function):
    """``conv2d(x, weight)`` whose gradient of the weights is the product of gradients and patches."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` bfloat16 channels-last, weights of any precision -> bfloat16."""
        lower = weight.to(x.dtype, memory_format=torch.channels_last)
        ctx.save_for_backward(x, lower)
        ctx.dtype = weight.dtype
        return functional.conv2d(x, lower)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:  # type: ignore[override]
        """Gradients of the input and of the weights, where they are asked for."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = conv2d_input(x.shape, weight, grad)
        if ctx.needs_input_grad[1]:
            outputs, inputs, height, width = weight.shape
            rows = grad.permute(TO_LAST).reshape(-1, outputs)
            product = (rows.t() @ patches(x, height, width)).to(ctx.dtype)
            of_weight = product.view(outputs, height, width, inputs).permute(FROM_LAST)
        return of_x, of_weight


def in_lower_precision_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` ``(N, C, H, W)`` is what the matrix products here are faster for."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and is_channels_last(x)


def patches(x: Tensor, height: int, width: int) -> Tensor:
    """``(N, C, H, W)`` -> ``(pixels, height width C)``: for each place of a kernel, what it sees."""
    windows = x.permute(TO_LAST).unfold(1, height, 1).unfold(2, width, 1)
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, height * width * x.shape[1])
