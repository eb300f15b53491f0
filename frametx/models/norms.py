"""Norms. Their parameters stay in float32 and what comes in is widened, whatever the network runs in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultichannelLayerNorm(nn.Module):
    """Layer norm over the bins of each frame, with a weight and a bias of its own for every channel.

    The epsilon is so small that the kernel matters: torch's `layer_norm` leaves a constant frame at exactly the bias.

    Args:
        channels: Channels.
        features: Bins.
    """

    EPS = 1e-8

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, features))
        self.bias = nn.Parameter(torch.zeros(channels, 1, features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[b c t f]`."""
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and not torch.is_grad_enabled():
            return self._each_channel(x)
        normal = F.layer_norm(x.to(self.weight.dtype), x.shape[-1:], eps=self.EPS)
        if torch.is_grad_enabled():
            return torch.addcmul(self.bias, normal, self.weight).to(x.dtype)
        return torch.addcmul(self.bias, normal, self.weight, out=normal).to(x.dtype)

    def _each_channel(self, x: Tensor) -> Tensor:
        """Compute in float32 what is read and written in bfloat16, without a float32 copy: for rows that share a weight."""
        parameters = zip(x.unbind(1), self.weight.squeeze(1), self.bias.squeeze(1), strict=True)
        return torch.stack([F.layer_norm(y, y.shape[-1:], w, b, self.EPS) for y, w, b in parameters], dim=1)


class _SharedLayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` that computes in the dtype of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class FrameNorm(nn.Module):
    """Layer norm over the bins of each frame, with weights shared by all channels (eps 1e-5)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = _SharedLayerNorm(features, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[b c t f]`."""
        return self.norm(x)  # type: ignore[no-any-return]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each bin and frame (eps 1e-5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _SharedLayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[b c t f]`."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()  # type: ignore[no-any-return]


class PlaneNorm(nn.Module):
    """Instance norm over the whole plane of bins and frames of each channel (eps 1e-5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[b c t f]`."""
        wide = x.to(self.weight.dtype)
        return F.instance_norm(wide, weight=self.weight, bias=self.bias, eps=1e-5).to(x.dtype)
