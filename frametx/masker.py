"""A model turns a chunk into a mask: what stands between spectrogram frames and a network.

Networks read magnitudes divided by the largest magnitude of the whole song, without the Nyquist bin, and answer with
logits. How a network is fed (with phases, with its own earlier output) is said by the network; the rules are here.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frametx.allocator import freed_memory_returned
from frametx.device import float32_kept, is_out_of_memory
from frametx.errors import DeviceError
from frametx.models.network import Feeding, Network
from frametx.spectrum import magnitudes, middle_and_side

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BATCH = 16
MEASURED_FRAMES = 256
"""Windows are measured at multiples of this width: songs of a folder have windows of many widths."""
MEMORY_SHARE = 0.6  # of the free memory, for all windows of a batch together


@dataclass(slots=True, kw_only=True)
class Masker:
    """A network on its device, ready to turn windows into masks.

    Attributes:
        name: What the user called the model.
        network: The network, cast to the precision it runs in.
        device: Where it is.
        exact: Loads the same network in float32; used when a window comes out broken in a smaller format.
        notes: What a person should know about this run, each once.
        became_exact: Whether a broken window made it float32.
    """

    name: str
    network: Network
    device: torch.device
    exact: Callable[[], Network] | None = None
    notes: list[str] = field(default_factory=list)
    became_exact: bool = False
    _most: int = field(default=sys.maxsize, init=False)  # windows at once, once more of them did not fit into memory
    _window_bytes: dict[int, int] = field(default_factory=dict, init=False)  # of a window, by its width

    def feeder(self, peak_magnitude: float) -> Feeder:
        """A fresh feeder for one song, whose largest magnitude is told."""
        kinds: dict[Feeding, type[Feeder]] = {
            Feeding.MAGNITUDE: Feeder,
            Feeding.MAGNITUDE_AND_PHASE: PhaseFeeder,
            Feeding.MAGNITUDE_AND_MIDDLE: MiddleFeeder,
            Feeding.HISTORY: HistoryFeeder,
        }
        return kinds[self.network.feeding](self, peak_magnitude)

    def masks(self, features: Tensor, audible: Tensor) -> Tensor:
        """Run the network on its input features `[b c f t]`; float32 masks `[b 2 f t]` in 0..1.

        Args:
            features: What the network reads.
            audible: Bool `[b]`, whether a window holds any sound: a constant mask is an error only then.

        Raises:
            DeviceError: A single window does not fit into memory.
        """
        logits = self._logits(self.network, features).float()
        masks = torch.sigmoid(logits)
        if not _is_broken(logits, masks, audible):
            return masks
        if self.exact is not None:
            self._say(f"{self.name}: a window came out broken in reduced precision; from here on it runs in float32")
            self.use_exact()
            return self.masks(features, audible)
        if not bool(torch.isfinite(masks).all()):
            raise DeviceError(
                f"model '{self.name}' returned values that are not numbers", "try --device cpu --precision fp32"
            )
        return masks

    def use_exact(self) -> None:
        """Run in float32 from here on."""
        if self.exact is not None:
            self.network, self.exact, self.became_exact = self.exact().to(self.device), None, True
            self._window_bytes.clear()

    def batch_size(self, width: int) -> int:
        """How many windows of `width` frames to run at once: one on a CPU, what fits into memory on a GPU."""
        if self.device.type != "cuda":
            return 1  # more would only use more memory
        used = self._bytes_of(width)
        # what the process holds without using it is free, too
        held = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        free = torch.cuda.mem_get_info(self.device)[0] + held
        return max(1, min(MAX_BATCH, self._most, int(MEMORY_SHARE * free / used)))

    @torch.inference_mode()
    def _bytes_of(self, width: int) -> int:
        """Memory that a window takes on its way through the network, found once a width by sending one through."""
        width = min(-(-width // MEASURED_FRAMES) * MEASURED_FRAMES, self.network.max_width or sys.maxsize)
        if width not in self._window_bytes:
            probe = torch.zeros(1, self.network.in_channels, self.network.n_bins, width, device=self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            try:
                self._logits(self.network, probe)
                used = max(1, torch.cuda.max_memory_allocated(self.device) - before)
            except DeviceError:  # a narrower one may fit yet, by itself
                used = sys.maxsize
            self._window_bytes[width] = used
        return self._window_bytes[width]

    def _logits(self, network: Network, features: Tensor) -> Tensor:
        if features.shape[0] > self._most:
            return torch.cat([self._logits(network, part) for part in torch.split(features, self._most)])
        try:
            with freed_memory_returned(network, features.shape[-1]), float32_kept(self.device, network.dtype):
                logits: Tensor = network(features)
            return logits
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if features.shape[0] == 1:
                raise DeviceError(
                    f"model '{self.name}' does not fit into the memory of {self.device} "
                    f"with windows of {features.shape[-1]} frames",
                    "use a smaller --crop, another model or --device cpu",
                ) from error
        # outside the handler, so that the failed attempt's memory is free
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._say(f"{self.name}: memory ran out with {features.shape[0]} windows at once; halved")
        self._most = features.shape[0] // 2  # of the next windows so many do not fit either
        return self._logits(network, features)

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


class Feeder:
    """Feeds windows to a network that reads magnitudes alone; they may come in any order and any number at once."""

    def __init__(self, masker: Masker, peak_magnitude: float) -> None:
        self.masker = masker
        self._peak_magnitude = peak_magnitude

    def __call__(self, windows: Tensor, inside: Tensor) -> Tensor:
        """Masks of windows.

        Args:
            windows: Complex `[b 2 f t]`, without the Nyquist bin.
            inside: Bool `[b t]`, which frames belong to the song; the others are silence put around it.

        Returns:
            Float32 masks `[b 2 f t]`, the instrumental's share, in 0..1.
        """
        magnitude = self._magnitude(windows)
        return self.masker.masks(self._features(windows, magnitude, inside), _audible(magnitude))

    def remember(self, windows: Tensor, mask: Tensor) -> None:
        """Take a window and its mask, both `[b 2 f t]`, as if the network had been asked."""

    def _magnitude(self, windows: Tensor) -> Tensor:
        """Magnitudes `[b 2 f t]` in 0..1, laid out for a network."""
        magnitude = magnitudes(windows).div_(self._peak_magnitude)
        # spectra arrive frame by frame; copied channel by channel torch transposes several times faster
        channels = [channel.contiguous() for channel in magnitude.flatten(0, 1)]
        return torch.stack(channels).view(magnitude.shape)

    def _features(self, windows: Tensor, magnitude: Tensor, inside: Tensor) -> Tensor:  # noqa: ARG002  (PhaseFeeder's)
        return magnitude


class PhaseFeeder(Feeder):
    """Adds the phases, scaled from -pi..pi to 0..1; the silence put around the song is 0 there too."""

    def _features(self, windows: Tensor, magnitude: Tensor, inside: Tensor) -> Tensor:
        phase = (windows.angle() + math.pi) / (2 * math.pi)
        return torch.cat([magnitude, phase * inside[:, None, None]], dim=1)


class MiddleFeeder(Feeder):
    """Adds the magnitudes of middle and side: where they differ from left and right, the phases do."""

    def _features(self, windows: Tensor, magnitude: Tensor, inside: Tensor) -> Tensor:  # noqa: ARG002  (silence is zero)
        return torch.cat([magnitude, self._magnitude(middle_and_side(windows))], dim=1)


class HistoryFeeder(Feeder):
    """Feeds an autoregressive network: each window comes with the two before it and with what became of them.

    The input channels are the window, the last window and its instrumental, the window before that and its
    instrumental. Before the first window everything is zero. Windows must come in order, one at a time.
    """

    def __init__(self, masker: Masker, peak_magnitude: float) -> None:
        super().__init__(masker, peak_magnitude)
        self._history: list[Tensor] = []  # [x_{i-1}, y_{i-1}, x_{i-2}, y_{i-2}], each [1 2 f t]

    def __call__(self, windows: Tensor, inside: Tensor) -> Tensor:  # noqa: ARG002  (silence is zero here anyway)
        if windows.shape[0] != 1:
            raise ValueError("an autoregressive network takes one window at a time")
        magnitude = self._magnitude(windows)
        zeros = torch.zeros_like(magnitude)
        history = (self._history + [zeros] * 4)[:4]
        mask = self.masker.masks(torch.cat([magnitude, *history], dim=1), _audible(magnitude))
        self._remember(magnitude, mask)
        return mask

    def remember(self, windows: Tensor, mask: Tensor) -> None:
        """Take a window and its mask, both `[1 2 f t]`, as the latest, without running the network."""
        self._remember(self._magnitude(windows), mask)

    def _remember(self, magnitude: Tensor, mask: Tensor) -> None:
        self._history = [magnitude, magnitude * mask, *self._history[:2]]


def _audible(magnitude: Tensor) -> Tensor:
    """Which windows of `[b 2 f t]` hold any sound, bool `[b]`."""
    return magnitude.amax(dim=(1, 2, 3)) > 0


def _is_broken(logits: Tensor, masks: Tensor, audible: Tensor) -> bool:
    """Whether a window has a logit that is no finite number, or a constant mask over sound."""
    # torch has no fast aminmax() along a dimension; on Apple's GPUs it leaves NaN out before macOS 15, but no sum does
    low, high = masks.amin(dim=(1, 2, 3)), masks.amax(dim=(1, 2, 3))
    finite = torch.isfinite(logits.sum(dim=(1, 2, 3)))
    return bool((~finite | ((low == high) & audible)).any())
