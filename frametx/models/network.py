"""What every network has in common: how it is fed, its limits, its precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from frametx.errors import ModelLimitError
from frametx.models.convolutions import Conv
from frametx.models.layers import MultichannelLinear
from frametx.spectrum import Framing

Shapes = Mapping[str, tuple[int, ...]]


class Feeding(Enum):
    """What the channels of a network's input are."""

    MAGNITUDE = "magnitude"
    """Left and right magnitude."""
    MAGNITUDE_AND_PHASE = "magnitude and phase"
    """Left and right magnitude, then left and right phase as `(phase + pi) / (2 pi)`."""
    MAGNITUDE_AND_MIDDLE = "magnitude, middle and side"
    """Left and right magnitude, then the magnitudes of half their sum and of half their difference."""
    HISTORY = "history"
    """This window's magnitudes, then mixture and estimate of the window before and of the one before that."""


class Network(nn.Module):
    """A network that turns magnitudes into the logits of a mask.

    Attributes:
        architecture: The name of the architecture.
        feeding: What the input's channels are.
        bears_rounding: Whether half precision changes masks by little; `auto` runs others in float32.
        usual_window: Frames a chunk owns and sees more on either side, where a network does best with a size of its own.
        framing: The STFT; the network sees its lower `n_fft / 2` bins.
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        max_width: The most frames a window may have, None for no limit.
    """

    architecture: ClassVar[str]
    feeding: ClassVar[Feeding] = Feeding.MAGNITUDE
    bears_rounding: ClassVar[bool] = True
    usual_window: ClassVar[tuple[int, int] | None] = None

    def __init__(
        self, *, in_channels: int, out_channels: int, n_fft: int, hop: int | None = None, max_width: int | None = None
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.framing = Framing(n_fft, hop or n_fft // 2)
        self.max_width = max_width

    @property
    def n_bins(self) -> int:
        """Bins the network sees: all but the highest."""
        return self.framing.n_bins

    @classmethod
    @abstractmethod
    def recognises(cls, shapes: Shapes) -> bool:
        """Tell whether a checkpoint with these tensors is of this architecture."""

    @classmethod
    @abstractmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensor names and shapes."""

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """Map `[b c t f]` to `[b out t f]`."""

    def forward(self, magnitude: Tensor) -> Tensor:
        """Estimate a mask.

        Args:
            magnitude: `[b c f t]` with `f = n_fft / 2`; magnitudes divided by the largest of the whole song.

        Returns:
            Logits `[b out f t]` in float32 (float64 for a float64 network).

        Raises:
            ModelLimitError: The window's width is none the network can take.
        """
        self.check_width(magnitude.shape[-1])
        dtype = self.dtype
        x = magnitude.transpose(2, 3).to(dtype, memory_format=torch.contiguous_format)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return self.logits(x).transpose(2, 3).to(wide)

    def fitting_width(self, width: int) -> int:
        """Return the smallest legal window of at least `width` frames.

        Raises:
            ModelLimitError: There is none.
        """
        if self.max_width is not None and width > self.max_width:
            raise ModelLimitError(
                f"{self.architecture} takes windows of at most {self.max_width} frames, this one has {width}",
                "choose a smaller crop or less context",
            )
        return width

    def check_width(self, width: int) -> None:
        """Refuse a window the network cannot take.

        Raises:
            ModelLimitError: It is too wide, or of a width between two legal ones.
        """
        self.fitting_width(width)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of convolutions and matrices."""
        for module in self.modules():
            if isinstance(module, Conv):
                return module.weight.dtype
        return torch.float32

    def cast(self, dtype: torch.dtype) -> Self:
        """Compute convolutions, matrices and attention in `dtype`; norms and rotary angles stay as they are."""
        for module in self.modules():
            if isinstance(module, (Conv, MultichannelLinear)):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
        return self
