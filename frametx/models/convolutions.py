"""Convolutions over frames and bins, laid out for the processor.

Tensors are `b c t f`; kernels are stored as `[out, in, f, t]`, as the checkpoints have them, and turned when used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.layers import MIN_COLUMNS, mix_channels
from frametx.models.strips import in_strips

SMALL_KERNEL = 5
PACKED = 8
FEW_CHANNELS = 16


def convolve_channels_last(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Convolve with channels last in memory: twice as fast on CPUs, even when the layout has to be changed for it."""
    return _convolve(_channels_last(x), weight.contiguous(memory_format=torch.channels_last), bias, stride, padding)


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int], groups: int = 1
) -> Tensor:
    if x.shape[3] + 2 * padding[1] - weight.shape[3] >= stride[1]:
        return F.conv2d(x, weight, bias, stride, padding, 1, groups)
    # a single bin: at a larger stride, oneDNN leaves memory unwritten on processors with AMX (torch 2.14, bfloat16)
    return F.conv2d(x, weight, bias, (stride[0], 1), padding, 1, groups)[..., :1]


def _channels_last(x: Tensor) -> Tensor:
    if x.is_contiguous(memory_format=torch.channels_last):
        return x
    b, c, t, f = x.shape
    if x.dtype != torch.bfloat16 or x.device.type != "cpu" or c <= FEW_CHANNELS:
        return x.contiguous(memory_format=torch.channels_last)
    # a product with one leaves every value as it is, and is up to four times as fast as a copy across so many channels
    y = torch.matmul(x.flatten(2).transpose(1, 2), torch.eye(c, dtype=x.dtype))  # b t*f c
    return y.view(b, t, f, c).permute(0, 3, 1, 2)


class Conv(nn.Conv2d):
    """A convolution over frames and bins that keeps the size at stride 1.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel: Kernel size, one number or `(bins, frames)`; odd.
        stride: Steps in `(bins, frames)`.
        groups: Groups of channels that do not see each other.
        bias: Whether there is one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2)
        super().__init__(in_channels, out_channels, size, stride=stride, padding=padding, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t' f']`."""
        stride = (self.stride[1], self.stride[0])
        padding = (int(self.padding[1]), int(self.padding[0]))
        weight = self.weight.transpose(2, 3)  # out in f t -> out in t f
        if x.device.type == "cpu" and not torch.is_grad_enabled() and self.groups == 1:
            if self.kernel_size == (1, 1):
                return self._mix(x[:, :, :: stride[0], :: stride[1]])
            if self.out_channels == 1 and self.kernel_size[0] > SMALL_KERNEL and x.shape[3] % PACKED == 0:
                return self._packed(x)
            return convolve_channels_last(x, weight, self.bias, stride, padding)
        if x.device.type != "cpu":
            weight = weight.contiguous()  # torch 2.6 to 2.13 reads it as if it were on Apple's GPUs (its issue 192212)
        return _convolve(x, weight, self.bias, stride, padding, self.groups)

    def _packed(self, x: Tensor) -> Tensor:
        """Compute one channel as `PACKED` channels of every `PACKED`-th bin: kernels are written for many channels."""
        size = self.kernel_size[0]
        kernel = self.weight.transpose(2, 3)[0]  # in t f
        weight = kernel.new_zeros(PACKED, *kernel.shape[:2], size + PACKED - 1)
        for shift in range(PACKED):
            weight[shift, ..., shift : shift + size] = kernel
        y = convolve_channels_last(x, weight, None, (1, PACKED), (size // 2, size // 2))
        y = y.permute(0, 2, 3, 1).reshape(x.shape[0], 1, x.shape[2], x.shape[3])
        return y if self.bias is None else y.add_(self.bias)

    def beside(self, x: Tensor) -> Tensor:
        """As `forward` with a 1x1 kernel and no bias, in the layout in which larger kernels answer."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            return self.forward(x)
        x = x[:, :, :: self.stride[1], :: self.stride[0]]
        if x.dtype == torch.float32 and self.out_channels < MIN_COLUMNS:
            return self._mix(x)  # the channels as rows
        b, _, t, f = x.shape
        y = torch.matmul(x.flatten(2).transpose(1, 2), self.weight.flatten(1).t())  # b t*f out
        return y.view(b, t, f, -1).permute(0, 3, 1, 2)

    def _mix(self, x: Tensor) -> Tensor:
        y = mix_channels(x, self.weight.flatten(1))
        return y if self.bias is None else y.add_(self.bias.view(-1, 1, 1))


def convolve_together(convs: Sequence[Conv], x: Tensor) -> list[Tensor]:
    """Apply several convolutions of the same size to one tensor, as one convolution where that is faster.

    Args:
        convs: Same kernel and channels in, stride 1, no groups.
        x: `[b c t f]`.

    Returns:
        One tensor `[b out t f]` for each.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return [conv(x) for conv in convs]
    weight = torch.cat([conv.weight for conv in convs]).transpose(2, 3)
    biases = [conv.bias for conv in convs if conv.bias is not None]
    bias = torch.cat(biases) if biases else None
    padding = (weight.shape[2] // 2, weight.shape[3] // 2)

    def convolve(part: Tensor) -> Tensor:
        return convolve_channels_last(part, weight, bias, (1, 1), padding)

    y = in_strips(convolve, x, width=max(x.shape[1], weight.shape[0]) * x.shape[3], halo=padding[0])
    return [part.contiguous() for part in torch.split(y, [conv.out_channels for conv in convs], dim=1)]
