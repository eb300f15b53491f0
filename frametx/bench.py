"""How fast the networks run here, beside what the machine can do.

Every network is built at its released sizes with random weights and runs in a process of its own, one at a time, so that
its peak memory is its own. Of a song's many windows only the first touches new memory and chooses kernels, so the second
is timed. The machine's peaks are measured in the same run: a matrix product and a convolution that suit it well. Another
implementation can be measured before each network, once for all precisions, with the same weights and window.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from frametx.allocator import freed_memory_returned, keep_freed_memory
from frametx.device import float32_kept, pick_device, pick_dtype
from frametx.errors import FrametxError, UsageError
from frametx.fresh_process import in_fresh_process
from frametx.models.convolutions import convolve_channels_last
from frametx.models.detect import NETWORKS, network_class
from frametx.operations import operations
from frametx.process import peak_memory_bytes
from frametx.spectrum import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from frametx.models.network import Network

SONG_SECONDS = 240
RELEASED = tuple(name for name in NETWORKS if name != "libft2")
"""Architectures of which a checkpoint was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """What the machine reaches in one precision, in GFLOP/s."""

    precision: str
    matrix: float
    convolution: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another implementation of the same network, in float32.

    Attributes:
        seconds: Time of the same window.
        peak_bytes: As `Measurement.peak_bytes`.
        largest_difference: Between its masks and the network's, 0..1.
        mean_difference: The same on average.
    """

    seconds: float
    peak_bytes: int | None
    largest_difference: float
    mean_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One network in one precision.

    Attributes:
        model: Architecture.
        precision: `fp32`, `bf16` or `fp16`.
        frames: Width of the window.
        seconds: Time of the second window.
        seconds_per_audio_second: Time per second of audio, without context.
        gflops: Operations of convolutions, matrices and attention per second, in 10^9.
        percent_of_matrix_peak: The same beside the machine's matrix product.
        percent_of_convolution_peak: The same beside the machine's convolution.
        peak_bytes: Most memory the process or the GPU held; None where that cannot be asked.
        song_seconds: Time for a song of four minutes.
        other: Another implementation, where one was named.
    """

    model: str
    precision: str
    frames: int
    seconds: float
    seconds_per_audio_second: float
    gflops: float
    percent_of_matrix_peak: float
    percent_of_convolution_peak: float
    peak_bytes: int | None
    song_seconds: float
    other: Other | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A process's second window: seconds, the process's or GPU's peak, masks `[1 2 f t]` in float32 on the CPU."""

    seconds: float
    peak_bytes: int | None
    masks: Any


def bench(
    models: Sequence[str],
    precisions: Sequence[str],
    *,
    frames: Sequence[int] = (2048,),
    device: str = "auto",
    against: str | None = None,
    on_result: Callable[[Measurement], None] | None = None,
    on_failure: Callable[[FrametxError], None] | None = None,
) -> tuple[list[Peaks], list[Measurement]]:
    """Measure networks one after another, each in a process of its own.

    Args:
        models: Architectures.
        precisions: `fp32`, `bf16`, `fp16`.
        frames: Windows; rounded up where an architecture wants it.
        device: As for separation.
        against: Another implementation, `module:function`, that maps an architecture's name, its tensors and a magnitude
            `[1 c f t]` to logits `[1 2 f t]`.
        on_result: Called after each.
        on_failure: Called when a measurement fails, instead of ending all. Without the other implementation's a network is
            not measured.

    Raises:
        ModelLimitError: An architecture takes no window so wide.
        UsageError: There is no such architecture or implementation.
        FrametxError: A measurement's process died, and there is no `on_failure`.
    """
    for model in models:
        if model not in NETWORKS:
            raise UsageError(f"there is no architecture '{model}'", f"there are {', '.join(NETWORKS)}")
    if against is not None:
        implementation(against)
    networks = [_outline(model) for model in models]
    windows = [(network, network.fitting_width(n)) for network, n in itertools.product(networks, frames)]
    peaks = {precision: in_fresh_process(_peaks, precision, device) for precision in precisions}
    results = []
    for network, width in windows:
        model = network.architecture
        try:
            other = None if against is None else in_fresh_process(_run, model, "fp32", width, device, against)
        except FrametxError as error:
            _fail(error, on_failure)
            continue
        for precision in precisions:
            try:
                run = in_fresh_process(_run, model, precision, width, device)
            except FrametxError as error:
                _fail(error, on_failure)
                continue
            result = _measurement(network, precision, width, peaks[precision], run, other)
            results.append(result)
            if on_result:
                on_result(result)
    return list(peaks.values()), results


def _outline(model: str) -> Network:
    """Return a network without its numbers."""
    with torch.device("meta"):
        network: Network = network_class(model)()  # type: ignore[call-arg]
    return network


def _fail(error: FrametxError, on_failure: Callable[[FrametxError], None] | None) -> None:
    if on_failure is None:
        raise error
    on_failure(error)


def implementation(name: str) -> Callable[[str, dict[str, Tensor], Tensor], Tensor]:
    """Find another implementation, given as `module:function`; modules in the working directory count.

    Raises:
        UsageError: There is none of that name.
    """
    module, _, function = name.partition(":")
    sys.path.insert(0, "")
    try:
        found: Callable[[str, dict[str, Tensor], Tensor], Tensor] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"there is no {name}: {error}", "name a module and a function in it: module:function"
        ) from error
    finally:
        sys.path.remove("")
    return found


def _measurement(
    network: Network, precision: str, width: int, peaks: Peaks, run: Run, other: Run | None
) -> Measurement:
    audio = width * network.framing.hop / SAMPLE_RATE
    gflops = operations(network, width) / run.seconds / 1e9
    return Measurement(
        model=network.architecture,
        precision=precision,
        frames=width,
        seconds=run.seconds,
        seconds_per_audio_second=run.seconds / audio,
        gflops=gflops,
        percent_of_matrix_peak=100 * gflops / peaks.matrix,
        percent_of_convolution_peak=100 * gflops / peaks.convolution,
        peak_bytes=run.peak_bytes,
        song_seconds=SONG_SECONDS * run.seconds / audio,
        other=None if other is None else _compare(run, other),
    )


def _compare(run: Run, other: Run) -> Other:
    difference = abs(run.masks - other.masks)
    return Other(
        seconds=other.seconds,
        peak_bytes=other.peak_bytes,
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
    )


def _run(model: str, precision: str, width: int, device_name: str, against: str | None = None) -> Run:
    device = pick_device(device_name)
    torch.manual_seed(0)
    network: Network = network_class(model)()  # type: ignore[call-arg]
    network = network.eval().requires_grad_(requires_grad=False).cast(pick_dtype(precision, device)).to(device)
    magnitude = torch.rand(1, network.in_channels, network.n_bins, width, device=device) ** 2
    watch: AbstractContextManager[None] = nullcontext()
    forward: Callable[[Tensor], Tensor] = network
    if against is not None:
        function, tensors = implementation(against), network.state_dict()

        def forward(x: Tensor) -> Tensor:
            return function(model, tensors, x)

    elif device.type == "cpu":
        keep_freed_memory()  # as separation does
        watch = freed_memory_returned(network, width)

    with torch.inference_mode(), watch, float32_kept(device, network.dtype):
        forward(magnitude)
        _wait(device)
        start = time.perf_counter()
        logits = forward(magnitude)
        _wait(device)
        seconds = time.perf_counter() - start
        peak = _peak_bytes(device)
        return Run(seconds, peak, logits.sigmoid().float().cpu().numpy())


def _peaks(precision: str, device_name: str) -> Peaks:
    device = pick_device(device_name)
    dtype = pick_dtype(precision, device)
    size, channels = 2048, 64
    matrix = torch.rand(size, size, device=device).to(dtype)
    plane = torch.rand(1, channels, 64, 1024, device=device).to(dtype)
    kernel = torch.rand(channels, channels, 3, 3, device=device).to(dtype)
    if device.type == "cpu":
        plane = plane.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), float32_kept(device, dtype):
        product = min(_timed(lambda: matrix @ matrix, device) for _ in range(5))
        convolution = min(
            _timed(lambda: convolve_channels_last(plane, kernel, None, (1, 1), (1, 1)), device) for _ in range(5)
        )
    return Peaks(
        precision=precision,
        matrix=2 * size**3 / product / 1e9,
        convolution=2 * kernel.numel() * plane[0, 0].numel() / convolution / 1e9,
    )


def _timed(function: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes, in seconds, what it started on the device included."""
    _wait(device)
    start = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory_bytes()


def as_dict(peaks: Sequence[Peaks], results: Sequence[Measurement]) -> dict[str, Any]:
    """Return everything as plain values, for JSON."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "peaks": [asdict(peak) for peak in peaks],
        "results": [asdict(result) for result in results],
    }
