"""From checkpoint files, whole, broken and hostile, to networks."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from frametx.errors import CheckpointError
from frametx.models.checkpoint import load_network, read_shapes
from frametx.models.v10 import V10

SIZES = {"embedding": 2, "n_fft": 24, "num_heads": 3, "expansion": 1}


@pytest.fixture
def network() -> V10:
    torch.manual_seed(0)
    return V10(**SIZES).eval()


@pytest.fixture
def path(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "model.pth")
    return tmp_path / "model.pth"


def same_output(one, other) -> bool:
    x = torch.rand(1, 2, 12, 9)
    with torch.inference_mode():
        return torch.equal(one(x), other(x))


class TestWholeFiles:
    def test_a_bare_state_dict_becomes_its_network(self, path, network):
        """The loaded network computes what the saved one computed, in eval mode and without gradients."""
        loaded = load_network(path)
        assert same_output(loaded, network)
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.parameters())

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "generator."])
    def test_prefixes_of_wrapped_networks_are_taken_off(self, tmp_path, network, prefix):
        """Names are read without what data parallelism and compilation put before them."""
        torch.save({prefix + key: value for key, value in network.state_dict().items()}, tmp_path / "m.pth")
        assert same_output(load_network(tmp_path / "m.pth"), network)

    @pytest.mark.parametrize("key", ["model", "state_dict"])
    def test_a_training_checkpoint_yields_its_model(self, tmp_path, network, key):
        """A state dict under one of the usual keys is found beside other values."""
        torch.save({"epoch": 3, key: network.state_dict()}, tmp_path / "m.pth")
        assert same_output(load_network(tmp_path / "m.pth"), network)

    def test_a_loose_tensor_beside_the_model_does_not_hide_it(self, tmp_path, network):
        """Training checkpoints may hold a best loss as a tensor."""
        payload = {"best_loss": torch.tensor(0.1), "model": network.state_dict()}
        torch.save(payload, tmp_path / "m.pth")
        assert load_network(tmp_path / "m.pth").architecture == network.architecture

    def test_safetensors_are_read(self, tmp_path, network):
        """A safetensors file gives the same network."""
        save_file(network.state_dict(), tmp_path / "m.safetensors")
        assert same_output(load_network(tmp_path / "m.safetensors"), network)

    def test_old_files_are_read(self, tmp_path, network):
        """Files from before the zip format cannot be mapped and are read anyway."""
        torch.save(network.state_dict(), tmp_path / "m.pth", _use_new_zipfile_serialization=False)
        assert same_output(load_network(tmp_path / "m.pth"), network)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_widened(self, tmp_path, network, dtype):
        """Tensors stored in half precision arrive in float32 with the values they were stored with."""
        state = {key: value.to(dtype) for key, value in network.state_dict().items()}
        torch.save(state, tmp_path / "m.pth")
        loaded = load_network(tmp_path / "m.pth").state_dict()
        assert all(torch.equal(loaded[key], value.float()) for key, value in state.items())

    def test_shapes_are_read_in_order(self, path, network):
        """Names and shapes come in the file's order."""
        expected = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
        assert list(read_shapes(path).items()) == expected


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


class TestBadFiles:
    def test_a_missing_file_is_named(self, tmp_path):
        """The message names the path and says that it does not exist."""
        with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
            load_network(tmp_path / "nowhere.pth")

    def test_a_folder_is_no_checkpoint(self, tmp_path):
        """A folder is named as one."""
        with pytest.raises(CheckpointError, match="is a folder"):
            load_network(tmp_path)

    @pytest.mark.parametrize("new", [True, False])
    def test_code_in_a_pickle_does_not_run(self, tmp_path, new):
        """A file that wants to call a function is refused and the function is not called."""
        target = tmp_path / "made by the bomb"
        torch.save({"a": Bomb(target)}, tmp_path / "m.pth", _use_new_zipfile_serialization=new)
        with pytest.raises(CheckpointError) as caught:
            load_network(tmp_path / "m.pth")
        assert not target.exists()
        assert caught.value.hint

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
    def test_a_cut_off_file_is_said_to_be_broken(self, path, share):
        """A file whose end is missing raises a readable error with a way out."""
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError) as caught:
            load_network(path)
        assert "model.pth" in caught.value.message
        assert caught.value.hint

    def test_a_path_that_is_not_text_is_said_to_be_that(self, tmp_path, path):
        """The checkpoint is whole, and nobody is told to remove it."""
        try:
            strange = path.rename(tmp_path / "caf\udce9.pth")
        except OSError:
            pytest.skip("this file system has no such names")
        with pytest.raises(CheckpointError, match="paths that are UTF-8") as caught:
            load_network(strange)
        assert "rename" in caught.value.hint

    def test_a_quantised_checkpoint_is_refused(self, tmp_path, network):
        """Whole numbers in place of weights are said to be that."""
        state = {name: tensor.to(torch.int8) for name, tensor in network.state_dict().items()}
        torch.save(state, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"holds torch\.int8 in"):
            load_network(tmp_path / "m.pth")

    def test_a_cut_off_old_file_is_said_to_be_broken(self, tmp_path, network):
        """The same for files from before the zip format."""
        path = tmp_path / "m.pth"
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(CheckpointError, match="not a"):
            load_network(path)

    def test_a_zip_of_something_else_is_refused(self, tmp_path):
        """A zip archive that torch did not write is no checkpoint."""
        import zipfile

        with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
            archive.writestr("song.txt", "la la")
        with pytest.raises(CheckpointError, match="not a whole checkpoint"):
            load_network(tmp_path / "m.pth")

    @pytest.mark.parametrize("text", [b"hello", b"<!DOCTYPE html>", b"cos\nsystem\n"])
    def test_a_text_is_said_to_be_none(self, tmp_path, text):
        """With what it begins with, whatever the unpickler made of it."""
        path = tmp_path / "m.pth"
        path.write_bytes(text)
        with pytest.raises(CheckpointError, match=f"not a checkpoint: it starts with b'{text[:3].decode()}"):
            load_network(path)

    def test_a_cut_off_safetensors_file_is_said_to_be_broken(self, tmp_path, network):
        """The same for safetensors."""
        path = tmp_path / "m.safetensors"
        save_file(network.state_dict(), path)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load_network(path)

    @pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>", b"RIFF....WAVE", b"\x80\x02}q\x00."])
    def test_other_files_are_no_checkpoints(self, tmp_path, content):
        """A web page, a sound or a bare pickle is refused readably."""
        (tmp_path / "m.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"m\.pth"):
            load_network(tmp_path / "m.pth")

    @pytest.mark.parametrize("payload", [[1, 2], {"epoch": 3}, {}])
    def test_a_file_without_tensors_is_refused(self, tmp_path, payload):
        """A pickle of plain values holds no network."""
        torch.save(payload, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match="holds no tensors"):
            load_network(tmp_path / "m.pth")


class TestOtherTensors:
    def test_unknown_tensors_are_counted_and_named(self, tmp_path):
        """Tensors of no known architecture are told by their first names, with the architectures there are."""
        torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"1 tensors of no known architecture, first conv\.weight") as caught:
            load_network(tmp_path / "m.pth")
        assert "v10" in caught.value.hint

    def test_a_missing_tensor_is_named(self, tmp_path, network):
        """A checkpoint that lacks a tensor is refused with the tensor's name."""
        state = network.state_dict()
        del state["dec3.conv2.weight"]
        torch.save(state, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"1 tensor missing, first dec3\.conv2\.weight"):
            load_network(tmp_path / "m.pth")

    def test_a_tensor_that_tells_sizes_may_be_missing_too(self, tmp_path, network):
        """Even when sizes cannot be read the message names what is missing."""
        state = network.state_dict()
        del state["out.weight"]
        torch.save(state, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"missing, first out\.weight"):
            load_network(tmp_path / "m.pth")

    def test_long_lists_are_cut(self, tmp_path, network):
        """Only the first few of many differences are listed."""
        state = {key: value for key, value in network.state_dict().items() if not key.startswith("dec")}
        torch.save(state, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"tensors missing, first dec5.*, \.\.\.") as caught:
            load_network(tmp_path / "m.pth")
        assert len(caught.value.message) < 400

    def test_a_wrong_shape_is_shown_beside_the_right_one(self, tmp_path, network):
        """A tensor of another shape is named with both shapes."""
        state = network.state_dict()
        state["dec1.conv2.weight"] = torch.zeros(3, 7, 3, 3)
        torch.save(state, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"dec1\.conv2\.weight is 3x7x3x3 instead of 2x"):
            load_network(tmp_path / "m.pth")

    def test_an_extra_tensor_is_named(self, tmp_path, network):
        """A tensor that the architecture does not have is refused."""
        torch.save({**network.state_dict(), "enc1.extra": torch.zeros(1)}, tmp_path / "m.pth")
        with pytest.raises(CheckpointError, match=r"1 tensor too many, first enc1\.extra"):
            load_network(tmp_path / "m.pth")

    def test_an_unknown_architecture_is_answered_with_the_known_ones(self, path):
        """Asking for an architecture that does not exist lists those that do."""
        with pytest.raises(CheckpointError, match="no architecture 'v12'") as caught:
            load_network(path, "v12")
        assert "v10" in caught.value.hint
