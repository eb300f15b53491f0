"""Recorded outputs of the original networks, and the recipe that makes their weights from nothing but names."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

DATA = Path(__file__).parent.parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One reduced configuration and samples of its output."""

    meta: dict[str, Any]
    out64: np.ndarray

    @property
    def salt(self) -> str:
        return self.meta["salt"]

    def input(self) -> torch.Tensor:
        x = (0.5 * (draw(f"{self.salt}/input", tuple(self.meta["input_shape"])) + 1.0)) ** 2
        x[..., x.shape[-1] // 3] = 0.0
        x[..., 2 * x.shape[-1] // 3] /= 1024.0
        return torch.from_numpy(x.astype(np.float32))

    def fill(self, network: torch.nn.Module) -> None:
        """Put the recipe's weights into every tensor but the buffers."""
        for key, tensor in network.state_dict().items():
            if key.split(".")[-1] not in ("freqs", "pe"):
                tensor.copy_(torch.from_numpy(weight(self.salt, key, tuple(tensor.shape))))

    def error(self, output: torch.Tensor) -> float:
        """Largest difference, relative to the value plus the median of all values."""
        got = output.double().flatten()[:: self.meta["stride"]].numpy()
        return float(np.max(np.abs(got - self.out64) / (self.meta["output_absmedian"] + np.abs(self.out64))))


def load(name: str) -> Recording:
    with np.load(DATA / "goldens" / f"{name}_a.npz") as arrays:
        return Recording(meta=json.loads(arrays["meta"].tobytes()), out64=arrays["out64"])


def released_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a released checkpoint's tensors, in order."""
    shapes = {}
    for line in (DATA / "keys" / f"keys_{name}.txt").read_text().splitlines():
        key, _, sizes = line.partition(" ")
        shapes[key] = tuple(int(size) for size in sizes.split("x")) if sizes else (0,)
    return shapes


def draw(label: str, shape: tuple[int, ...]) -> np.ndarray:
    raw = np.random.PCG64(zlib.crc32(label.encode())).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)


def weight(salt: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    leaf, z = key.rsplit(".", maxsplit=1)[-1], draw(f"{salt}/{key}", shape)
    if leaf == "bias":
        w = 0.3 * z
    elif leaf == "weight" and len(shape) in (1, 3):
        w = 1.0 + 0.4 * z
    else:
        w = 1.5 * z / math.sqrt(shape[-1] if leaf == "weight_pw" else math.prod(shape[1:]))
    return w.astype(np.float32)


@pytest.fixture
def recording_of():
    """Return the recording of an architecture by its name."""
    return load


@pytest.fixture
def released():
    """Return the tensor list of a released checkpoint by its architecture's name."""
    return released_shapes
