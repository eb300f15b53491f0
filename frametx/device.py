"""Where the networks run and in which precision."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from frametx.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",  # on Windows
    "invalid buffer size",  # on Apple's GPUs, of a tensor larger than they can hold at all
    "alloc_failed",  # CUDA's libraries about their own memory: CUBLAS_STATUS_ALLOC_FAILED and others
)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def available_devices() -> list[torch.device]:
    """Every device that torch can see here, the fastest kind first; the CPU is always the last."""
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append(torch.device("mps"))
    return [*devices, torch.device("cpu")]


def pick_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there.

    Raises:
        UsageError: The name means no device.
        DeviceError: This machine does not have it, or this torch was not built for it.
    """
    devices = available_devices()
    if name == "auto":
        return next(device for device in devices if has_kernels(device))
    try:
        wanted = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"'{name}' is no device", "use auto, cpu, cuda, cuda:0 (or another number) or mps") from error
    if str(wanted) == "cuda":
        wanted = torch.device("cuda", 0)
    if wanted not in devices:
        there = ", ".join(str(device) for device in devices)
        raise DeviceError(f"device '{name}' is not available; this machine has: {there}", "try --device auto")
    if not has_kernels(wanted):
        raise DeviceError(
            f"this PyTorch was not built for {wanted}, {torch.cuda.get_device_name(wanted)}",
            "install one that was, from https://pytorch.org/get-started/previous-versions, or use --device cpu",
        )
    return wanted


def has_kernels(device: torch.device) -> bool:
    """Whether this torch was built for a device: every kernel would fail on an NVIDIA card that it has left behind."""
    if device.type != "cuda" or torch.version.cuda is None:
        return True
    major, minor = torch.cuda.get_device_capability(device)
    # sm_86 is machine code, compute_90 what any later card can compile
    built = [arch.partition("_")[::2] for arch in torch.cuda.get_arch_list()]
    return not built or any(
        _runs(kind, int(number.rstrip("af")), 10 * major + minor) for kind, number in built if number
    )


def _runs(kind: str, built: int, card: int) -> bool:
    return built <= card and (kind == "compute" or built // 10 == card // 10)


@contextmanager
def float32_kept(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Let float32 be float32: NVIDIA cards since 2020 round what is convolved to TF32's ten bits unless they are told."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda" or dtype != torch.float32:
        yield
        return
    # torch has had a setting a kind of operation since 2.9, and may not be asked by the old name where that was used
    place, name, kept = (
        (cudnn.conv, "fp32_precision", "ieee") if hasattr(cudnn, "conv") else (cudnn, "allow_tf32", False)
    )
    before = getattr(place, name)
    setattr(place, name, kept)
    try:
        yield
    finally:
        setattr(place, name, before)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format for convolutions and matrix products.

    `auto` takes bfloat16 where the hardware multiplies it, float16 on CUDA cards from before bfloat16 that have fast
    float16 (compute capability 7), and float32 everywhere else.

    Raises:
        UsageError: The precision is none of auto, fp32, bf16, fp16.
    """
    if precision in _DTYPES:
        return _DTYPES[precision]
    if precision != "auto":
        raise UsageError(f"'{precision}' is no precision", "use auto, fp32, bf16 or fp16")
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return torch.bfloat16
        # the cards of 7.5 without tensor cores (GTX 16xx) return NaN in float16; what is broken is redone in float32
        return torch.float16 if capability >= (7, 0) else torch.float32
    if device.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """`fp32`, `bf16` or `fp16`."""
    return next(name for name, known in _DTYPES.items() if known == dtype)


def cpu_has_amx() -> bool:
    """Whether this processor multiplies tiles of bfloat16, at several times the rate of its other units."""
    return _cpu_supports("amx_tile")


def _cpu_multiplies_bfloat16() -> bool:
    return cpu_has_amx() or _cpu_supports("avx512_bf16")


def _cpu_supports(feature: str) -> bool:
    probe = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return probe is not None and bool(probe())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
