"""The layers all architectures share; `convolutions`, `norms` and `blocks` beside this file hold the others of their kind.

Inside the networks a tensor is `b c t f`: frequency bins lie side by side in memory, because norms, per-channel
matrices and attention all work on whole frames. Checkpoints were trained on `b c f t`, so convolution kernels are
stored as `[out, in, f, t]` and turned when used. Parameter names are the checkpoints' and may not change.

Layers compute in the dtype of their weights: convolutions and matrices may be half precision, while norms and rotary
angles keep float32 parameters and widen what comes in.

Source of all layers: the specification of the networks, section "building blocks".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
MIN_COLUMNS = 16
"""Matrix products in float32 with two to fewer columns than this take three to ten times as long on a CPU."""


def add(x: Tensor, y: Tensor) -> Tensor:
    """Return `x + y`, in the memory of `x` when no gradient is needed. `x` must not be used afterwards."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Join parts `[b c t f]` along the channels."""
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=1)


def gelu(x: Tensor) -> Tensor:
    """Exact GELU; overwrites `x` when no gradient is needed."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.01; overwrites `x` when no gradient is needed."""
    return F.leaky_relu(x, inplace=not torch.is_grad_enabled())


def squared_relu(x: Tensor) -> Tensor:
    """`max(x, 0) ** 2`; overwrites `x` when no gradient is needed."""
    return F.relu(x).square() if torch.is_grad_enabled() else x.relu_().square_()


def mix_channels(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a matrix `[out, c]` over the channels of `x` `[b c t f]`."""
    b, _, t, f = x.shape
    # matmul would choose another product, and round otherwise, where the weight requires a gradient
    return torch.bmm(weight.expand(b, -1, -1), x.reshape(b, -1, t * f)).view(b, -1, t, f)


class MultichannelLinear(nn.Module):
    """A matrix over the bins for every channel, then, if asked for, a matrix over the channels.

    Args:
        in_channels: Channels in.
        out_channels: Channels out; another number than `in_channels` implies `mix`.
        in_features: Bins in.
        out_features: Bins out.
        mix: Whether the channels are mixed.
    """

    def __init__(
        self, in_channels: int, out_channels: int, in_features: int, out_features: int, *, mix: bool = False
    ) -> None:
        super().__init__()
        self.weight_pw = nn.Parameter(torch.empty(in_channels, out_features, in_features))
        nn.init.uniform_(self.weight_pw, -(in_features**-0.5), in_features**-0.5)
        self.weight_dw: nn.Parameter | None = None
        if mix or in_channels != out_channels:
            self.weight_dw = nn.Parameter(torch.empty(out_channels, in_channels))
            nn.init.uniform_(self.weight_dw, -(in_channels**-0.5), in_channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t out_features]`."""
        y = self.each_channel(x)
        return y if self.weight_dw is None else mix_channels(y, self.weight_dw)

    def each_channel(self, x: Tensor) -> Tensor:
        """Apply the matrices over the bins alone, as one batched product without copies of the weights."""
        b, c, t, f = x.shape
        matrices = self.weight_pw.transpose(1, 2)  # c f out
        if b == 1:
            return torch.bmm(x[0], matrices).unsqueeze(0)
        # bmm would copy the matrices of a view one by one, and slowly
        rows = x.permute(1, 0, 2, 3).reshape(c, b * t * f).contiguous().view(c, b * t, f)
        y = torch.bmm(rows, matrices)
        return y.view(c, b, t, -1).transpose(0, 1)


class RotaryEmbedding(nn.Module):
    """Rotate adjacent pairs of features by an angle that grows with the frame's number.

    Args:
        features: Features of a head that take part; an odd last one does not.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        # on the CPU also where a network is built without memory: arange on the meta device imports a second of torch
        exponents = torch.arange(0, 2 * (features // 2), 2, dtype=torch.float32, device="cpu") / features
        self.register_buffer("freqs", 1.0 / 10000.0**exponents)
        self.freqs: Tensor

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """Rotate `x` by frame.

        Args:
            x: `[... t h d]`; features beyond the pairs pass through.
            scale: Factor for all of the result.

        Returns:
            `[... t h d]`, contiguous, in the dtype of `x`.
        """
        n_pairs = self.freqs.numel()
        if n_pairs == 0:
            return (x * scale).contiguous()
        frames = torch.arange(x.shape[-3], dtype=self.freqs.dtype, device=x.device)
        angles = torch.outer(frames, self.freqs).unsqueeze(1)  # t 1 pairs
        turn = torch.polar(torch.full_like(angles, scale), angles)
        wide = x.to(self.freqs.dtype)
        pairs = wide[..., : 2 * n_pairs].reshape(*x.shape[:-1], n_pairs, 2).contiguous()
        turned = torch.view_as_real(torch.view_as_complex(pairs) * turn).flatten(-2)
        if turned.shape[-1] < x.shape[-1]:
            turned = torch.cat((turned, wide[..., 2 * n_pairs :] * scale), dim=-1)
        return turned.to(x.dtype)
