"""The layers all architectures share.

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

from frametx.models.strips import in_strips

Activation = Callable[[Tensor], Tensor]


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


SMALL_KERNEL = 5
PACKED = 8


def convolve_channels_last(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Convolve with channels last in memory: twice as fast on CPUs, even when the layout has to be changed for it."""
    x = x.contiguous(memory_format=torch.channels_last)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, bias, stride, padding)


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
        return F.conv2d(x, weight, self.bias, stride, padding, 1, self.groups)

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
        y = torch.bmm(x.transpose(0, 1).reshape(c, b * t, f), matrices)
        return y.view(c, b, t, -1).transpose(0, 1)


def mix_channels(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a matrix `[out, c]` over the channels of `x` `[b c t f]`."""
    b, _, t, f = x.shape
    return torch.matmul(weight, x.reshape(b, -1, t * f)).view(b, -1, t, f)


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
        normal = F.layer_norm(x.to(self.weight.dtype), x.shape[-1:], eps=self.EPS)
        if torch.is_grad_enabled():
            return torch.addcmul(self.bias, normal, self.weight).to(x.dtype)
        return torch.addcmul(self.bias, normal, self.weight, out=normal).to(x.dtype)


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

    def forward(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t' f']`."""
        width = max(self.conv1.in_channels, self.conv1.out_channels) * x.shape[3]
        return in_strips(self._strip, x, width=width, halo=2 * (self.kernel // 2), stride=self.stride)

    def _strip(self, x: Tensor) -> Tensor:
        h = self.conv2(self.activation(self.conv1(self.norm(x))))
        return add(h, self.identity(x))


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
        return self.body(torch.cat((upsample_to(x, skip), skip), dim=1))  # type: ignore[no-any-return]


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
        x = joined(parts)
        return self._convolve(self.norm1(x), x)

    def _convolve(self, normal: Tensor, x: Tensor) -> Tensor:
        return add(self.conv2(leaky_relu(self.conv1(normal))), self.idt(x))


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize `[b c t f]` bilinearly, corners aligned, to the frames and bins of `like`."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)
