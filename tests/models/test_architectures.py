"""Every architecture against recorded outputs and the tensor lists of the released checkpoints."""

from __future__ import annotations

import hashlib

import pytest
import torch

from frametx.errors import ModelLimitError
from frametx.models.detect import NETWORKS, architecture_of

# recorded name -> architecture; v2b was recorded with both of its positional networks
NAMES = ("v10", "v9", "v8", "v7", "v6", "v4", "gan-v1", "libft2", "v2b", "v2b_convembed", "v1")
RECORDED = {name: name.partition("_")[0] for name in NAMES}
# nothing in v9's tensors depends on the number of bins
UNREADABLE = {"v9": {"n_fft": 2048}}


def sizes_of(name: str, recording) -> dict:
    extra = {"sinusoid": name == "v2b_convembed"} if name.startswith("v2b") else {}
    return recording.meta["hparams"] | extra


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", RECORDED)
class TestRecordings:
    def test_outputs_are_the_originals(self, name, recording_of):
        """In float32 and in float64 the logits are the recorded ones within the recording's own tolerance.

        A table of sines in float32 ends in other last bits on other processors; a recording names a tolerance for that.
        """
        recording = recording_of(name)
        network = NETWORKS[RECORDED[name]](**sizes_of(name, recording)).eval()
        recording.fill(network)
        with torch.inference_mode():
            assert recording.error(network(recording.input())) <= recording.meta["rtol32"]
            network.double()
            has_table = any(key.endswith(".pe") for key in network.state_dict())
            tolerance = min(recording.meta["rtol64_other_buffers"], 2e-6) if has_table else recording.meta["rtol64"]
            assert recording.error(network(recording.input().double())) <= tolerance

    def test_sizes_are_read_back_from_the_tensors(self, name, recording_of):
        """The constructor's values follow from names and shapes of the tensors alone."""
        sizes = sizes_of(name, recording_of(name))
        with torch.device("meta"):
            network = NETWORKS[RECORDED[name]](**sizes)
        read = NETWORKS[RECORDED[name]].sizes_from(shapes_of(network))
        assert read == sizes | UNREADABLE.get(name, {})

    def test_the_architecture_is_recognised(self, name, recording_of):
        """A reduced network of an architecture is recognised by its tensors, and by that architecture alone."""
        with torch.device("meta"):
            network = NETWORKS[RECORDED[name]](**sizes_of(name, recording_of(name)))
        shapes = shapes_of(network)
        assert architecture_of(shapes).architecture == RECORDED[name]
        assert [cls for cls in NETWORKS.values() if cls.recognises(shapes)] == [type(network)]

    def test_tensors_have_the_originals_names_and_order(self, name, recording_of):
        """The ordered list of names and shapes is the original's."""
        recording = recording_of(name)
        with torch.device("meta"):
            network = NETWORKS[RECORDED[name]](**sizes_of(name, recording))
        lines = [f"{key} {'x'.join(map(str, shape))}\n" for key, shape in shapes_of(network).items()]
        assert hashlib.sha256("".join(lines).encode()).hexdigest() == recording.meta["keys_sha256"]


@pytest.mark.parametrize("name", RECORDED)
def test_released_checkpoints_fit_tensor_by_tensor(name, released):
    """A network built from a released checkpoint's shapes has exactly its tensors, in order."""
    shapes = released(name)
    network_class = architecture_of(shapes)
    assert network_class.architecture == RECORDED[name]
    with torch.device("meta"):
        network = network_class(**network_class.sizes_from(shapes))
    assert list(shapes_of(network).items()) == list(shapes.items())


@pytest.mark.parametrize("name", [name for name in NAMES if name in NETWORKS and name != "libft2"])
def test_defaults_are_the_released_sizes(name, released):
    """A network built without sizes has the released checkpoint's tensors."""
    with torch.device("meta"):
        network = NETWORKS[name]()
    assert shapes_of(network) == released(name)


class TestWidths:
    @pytest.mark.parametrize("name", ["v7", "v6", "v4", "gan-v1", "libft2"])
    def test_the_positional_table_ends_at_4096_frames(self, name):
        """Networks with a table of positions take 4096 frames and refuse 4097 with a way out."""
        with torch.device("meta"):
            network = NETWORKS[name]()
        assert network.fitting_width(4096) == network.max_width == 4096
        with pytest.raises(ModelLimitError, match="at most 4096 frames, this one has 4097") as caught:
            network.fitting_width(4097)
        assert caught.value.hint

    @pytest.mark.parametrize("name", ["v10", "v8", "v2b", "v1"])
    def test_others_take_any_width(self, name):
        """Networks without that table take any width as it is."""
        with torch.device("meta"):
            network = NETWORKS[name]()
        assert network.max_width is None
        assert [network.fitting_width(width) for width in (1, 33, 100_000)] == [1, 33, 100_000]

    @pytest.mark.parametrize(("width", "fitting"), [(1, 256), (249, 256), (256, 256), (257, 512), (4096, 4096)])
    def test_v9_rounds_up_to_whole_chunks(self, width, fitting):
        """v9 wants windows of a multiple of 256 frames and says which fits."""
        with torch.device("meta"):
            network = NETWORKS["v9"]()
        assert network.fitting_width(width) == fitting

    def test_v9_refuses_a_broken_chunk(self):
        """A window that leaves a chunk unfilled is refused with the width that fits."""
        network = NETWORKS["v9"](channels=1, num_layers=1, chunk_size=8, num_heads=2, expansion=8)
        with pytest.raises(ModelLimitError, match="this one has 100") as caught:
            network(torch.zeros(1, 10, 64, 100))
        assert caught.value.hint == "use a window of 128 frames"
