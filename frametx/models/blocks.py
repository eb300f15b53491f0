"""The bodies of encoders and decoders: a norm and two convolutions beside a shortcut."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.models.convolutions import Conv
from frametx.models.layers import Activation, add, joined, leaky_relu
from frametx.models.norms import PlaneNorm
from frametx.models.strips import in_strips


class ResBlock(nn.Module):
    """Norm, convolution, activation, convolution, beside a shortcut: the body of every encoder and decoder up to v8.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        norm: The norm at the entrance.
        activation: Between the convolutions.
        kernel: Size of both kernels; odd.
        stride: Steps of the second convolution and of the shortcut in `(bins, frames)`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: nn.Module,
        activation: Activation,
        *,
        kernel: int = 3,
        stride: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.activation = activation
        self.kernel = kernel
        self.stride = stride[1]
        self.norm = norm
        self.conv1 = Conv(in_channels, out_channels, kernel)
        self.conv2 = Conv(out_channels, out_channels, kernel, stride=stride)
        self.identity: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != (1, 1):
            self.identity = Conv(in_channels, out_channels, 1, stride=stride)

    def forward(self, *parts: Tensor) -> Tensor:
        """Map `[b c t f]`, given in any number of parts, to `[b out t' f']`."""
        width = max(self.conv1.in_channels, self.conv1.out_channels) * parts[0].shape[3]
        return in_strips(self._strip, *parts, width=width, halo=2 * (self.kernel // 2), stride=self.stride)

    def _strip(self, *parts: Tensor) -> Tensor:
        x = joined(parts).contiguous()  # norm and shortcut would each copy a strip that is not
        h = self.conv2(self.activation(self.conv1(self.norm(x))))
        return add(h, shortcut(self.identity, x))


class FrameEncoder(nn.Module):
    """One level down, under the name the checkpoints give it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f/2]` (or `[b out t f]` at the first level)."""
        return self.body(x)  # type: ignore[no-any-return]


class FrameDecoder(nn.Module):
    """One level up: resize, join with the skip, and a block."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map `[b c t f/2]` and a skip `[b s t f]` to `[b out t f]`."""
        return self.body(upsample_to(x, skip), skip)  # type: ignore[no-any-return]


class LeakyBlock(nn.Module):
    """The body of the encoders and decoders of v9 and v10: as `ResBlock`, but it widens in the second convolution.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        norm: The norm at the entrance.
        stride: Steps of the second convolution and of the shortcut in `(bins, frames)`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: nn.Module, *, stride: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.stride = stride[1]
        self.norm1 = norm
        self.conv1 = Conv(in_channels, in_channels, 3)
        self.conv2 = Conv(in_channels, out_channels, 3, stride=stride)
        self.idt: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != (1, 1):
            self.idt = Conv(in_channels, out_channels, 1, stride=stride)

    def forward(self, *parts: Tensor) -> Tensor:
        """Map `[b c t f]`, given in any number of parts, to `[b out t' f']`."""
        width = max(self.conv2.in_channels, self.conv2.out_channels) * parts[0].shape[3]
        if isinstance(self.norm1, PlaneNorm):  # not local
            x = joined(parts)
            return in_strips(self._convolve, self.norm1(x), x, width=width, stride=self.stride)
        return in_strips(self._strip, *parts, width=width, stride=self.stride)

    def _strip(self, *parts: Tensor) -> Tensor:
        x = joined(parts).contiguous()
        return self._convolve(self.norm1(x), x)

    def _convolve(self, normal: Tensor, x: Tensor) -> Tensor:
        return add(self.conv2(leaky_relu(self.conv1(normal))), shortcut(self.idt, x))


def shortcut(module: nn.Module, x: Tensor) -> Tensor:
    """Apply the convolution beside a block's others, if there is one."""
    return module.beside(x) if isinstance(module, Conv) else x


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize `[b c t f]` bilinearly, corners aligned, to the frames and bins of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    n_frames, n_bins = like.shape[-2:]
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.interpolate(x, size=(n_frames, n_bins), mode="bilinear", align_corners=True)
    if x.shape[3] != n_bins:
        x = _stretch_bins(x, n_bins)
    return x if x.shape[2] == n_frames else _stretch_frames(x, n_frames)


def _stretch_bins(x: Tensor, n_bins: int) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # twice as fast as interpolating bfloat16
    y = F.interpolate(wide.flatten(1, 2), size=n_bins, mode="linear", align_corners=True)
    return y.view(*x.shape[:3], n_bins).to(x.dtype)


def _stretch_frames(x: Tensor, n_frames: int) -> Tensor:
    """Stretch all bins of a frame at once, as channels that lie last in memory: ten times as fast in bfloat16."""
    planes = x.flatten(0, 1).unsqueeze(2).permute(0, 3, 1, 2)  # b*c f t 1
    y = F.interpolate(planes, size=(n_frames, 1), mode="bilinear", align_corners=True)
    return y.permute(0, 2, 3, 1).contiguous().view(*x.shape[:2], n_frames, x.shape[3])
