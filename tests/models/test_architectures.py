"""Every architecture against recorded outputs and the tensor lists of the released checkpoints."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch

from frametx.models.v10 import V10

if TYPE_CHECKING:
    from frametx.models.network import Network

ARCHITECTURES: dict[str, type[Network]] = {"v10": V10}


def shapes_of(network: Network) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
class TestRecordings:
    def test_outputs_are_the_originals(self, name, recording_of):
        """In float32 and in float64 the logits are the recorded ones within the recording's own tolerance."""
        recording = recording_of(name)
        network = ARCHITECTURES[name](**recording.meta["hparams"]).eval()
        recording.fill(network)
        with torch.inference_mode():
            assert recording.error(network(recording.input())) <= recording.meta["rtol32"]
            network.double()
            assert recording.error(network(recording.input().double())) <= recording.meta["rtol64"]

    def test_sizes_are_read_back_from_the_tensors(self, name, recording_of):
        """The constructor's values follow from names and shapes of the tensors alone."""
        sizes = recording_of(name).meta["hparams"]
        with torch.device("meta"):
            network = ARCHITECTURES[name](**sizes)
        assert ARCHITECTURES[name].sizes_from(shapes_of(network)) == sizes

    def test_tensors_have_the_originals_names_and_order(self, name, recording_of):
        """The ordered list of names and shapes is the original's."""
        recording = recording_of(name)
        with torch.device("meta"):
            network = ARCHITECTURES[name](**recording.meta["hparams"])
        lines = [f"{key} {'x'.join(map(str, shape))}\n" for key, shape in shapes_of(network).items()]
        assert hashlib.sha256("".join(lines).encode()).hexdigest() == recording.meta["keys_sha256"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_released_checkpoints_fit_tensor_by_tensor(name, released):
    """A network built from a released checkpoint's shapes has exactly its tensors, in order."""
    shapes = released(name)
    with torch.device("meta"):
        network = ARCHITECTURES[name](**ARCHITECTURES[name].sizes_from(shapes))
    assert list(shapes_of(network).items()) == list(shapes.items())
