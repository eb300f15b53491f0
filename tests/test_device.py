"""Devices that cannot go on, and devices that compute something else than the CPU."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from frametx import Separator, masker, selftest, setup
from frametx.device import has_kernels, pick_device
from frametx.errors import DeviceError
from frametx.masker import Masker
from frametx.models.v10 import V10
from frametx.spectrum import Framing
from frametx.windows import WindowOptions, mask_source
from tests.stand_in import StandIn

WORDS = (
    "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
    "[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.",
    "MPS backend out of memory (MPS allocated: 8.97 GB, other allocations: 1.06 GB, max allowed: 9.07 GB).",
    "Invalid buffer size: 19.45 GB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
)
GPU = torch.device("cuda", 0)
GIB = 2**30


@pytest.mark.parametrize("words", WORDS)
def test_memory_that_ran_out_is_said_on_every_system(words, monkeypatch):
    """Linux, Windows and Apple's GPUs have words of their own for it; people read the same, with a way out."""
    network = V10(n_fft=256, embedding=2, num_heads=4, expansion=2)

    def fail(*_):
        raise RuntimeError(words)

    monkeypatch.setattr(network, "forward", fail)
    masker = Masker(name="tiny", network=network, device=torch.device("cpu"))
    with pytest.raises(DeviceError, match="does not fit into the memory of cpu") as caught:
        masker.masks(torch.zeros(1, 2, 128, 32), torch.ones(1, dtype=torch.bool))
    assert "--crop" in (caught.value.hint or "")


def test_a_model_that_does_not_fit_is_said_when_it_is_loaded(tiny_checkpoint, monkeypatch):
    """Before any song, with the model's name and a way out."""

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    monkeypatch.setattr(V10, "cast", fail)
    with pytest.raises(DeviceError, match="does not fit into the memory of cpu") as caught:
        Separator(tiny_checkpoint, device="cpu")
    assert "--device cpu" in (caught.value.hint or "")


def test_a_gpu_that_computes_something_else_is_left_out_aloud(tiny_checkpoint, monkeypatch):
    """`auto` takes the CPU instead, and a person learns why it is slow."""
    monkeypatch.setattr(setup, "pick_device", lambda _: torch.device("mps"))
    monkeypatch.setattr(setup, "agrees_with_cpu", lambda _: False)
    notes = []
    assert setup.prepare(tiny_checkpoint, on_note=notes.append).device == "cpu"
    assert any("frametx doctor" in note for note in notes)


def test_the_cpu_agrees_with_itself():
    """Masks, and samples that went through both transforms, are the same twice."""
    assert selftest.difference_from_cpu(torch.device("cpu")) < 1e-5
    assert selftest.agrees_with_cpu(torch.device("cpu"))


@pytest.mark.parametrize("broken", ["irfft", "stft"])
def test_a_device_whose_transforms_are_wrong_is_not_trusted(broken, monkeypatch):
    """Networks alone don't show it: the samples would be wrong."""
    place, right = (torch.fft, torch.fft.irfft) if broken == "irfft" else (torch, torch.stft)
    monkeypatch.setattr(place, broken, lambda *args, **options: right(*args, **options) * 0.9)
    assert not selftest.agrees_with_cpu(torch.device("cpu"))


class Watched(StandIn):
    """Notes how it is run, and answers with its input."""

    def __init__(self):
        super().__init__(in_channels=2, out_channels=2, n_fft=256)
        self.n_windows = []
        self.learning = []
        self.convolved_in = []

    def logits(self, x):
        self.n_windows.append(len(x))
        self.learning.append(torch.is_grad_enabled())
        self.convolved_in.append(convolution_precision())
        return x.clone()


def convolution_precision():
    cudnn = torch.backends.cudnn
    return cudnn.conv.fp32_precision if hasattr(cudnn, "conv") else {True: "tf32", False: "ieee"}[cudnn.allow_tf32]


def watched_masker(device=GPU):
    return Masker(name="watched", network=Watched(), device=device)


AUDIBLE = torch.ones(1, dtype=torch.bool)


class TestMemory:
    @pytest.fixture
    def card(self, monkeypatch):
        """A GPU of 24 GiB where a window takes one, or five where gradients might be wanted; what it holds is told."""
        held = {"allocated": 0, "reserved": 0}
        learning = []
        monkeypatch.setattr(Watched, "logits", lambda _self, x: learning.append(torch.is_grad_enabled()) or x)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: held["allocated"])
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: held["reserved"])
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (24 * GIB - held["reserved"], 24 * GIB))
        monkeypatch.setattr(
            torch.cuda, "max_memory_allocated", lambda _: held["allocated"] + (5 if learning[-1] else 1) * GIB
        )
        held["learning"] = learning
        return held

    def test_a_window_is_measured_as_it_will_run(self, card):
        """Networks take several times the memory where they must keep what gradients need."""
        with FakeTensorMode():
            assert watched_masker().batch_size(100) == int(24 * masker.MEMORY_SHARE)
        assert card["learning"] == [False]

    def test_memory_kept_for_later_is_free(self, card):
        """A song leaves its memory with the process; the next one has as many windows at once."""
        card |= {"allocated": GIB, "reserved": 20 * GIB}
        with FakeTensorMode():
            assert watched_masker().batch_size(100) == int(23 * masker.MEMORY_SHARE)

    def test_songs_of_a_folder_are_not_measured_one_by_one(self, card):
        """Their windows are about as wide; a measurement costs as much as a window."""
        watched = watched_masker()
        with FakeTensorMode():
            for width in (200, 230, 255, 300):
                watched.batch_size(width)
        assert len(card["learning"]) == 2

    def test_a_song_of_one_window_is_not_measured(self, monkeypatch):
        """There is nothing to find out."""
        monkeypatch.setattr(Masker, "batch_size", lambda *_: pytest.fail("measured"))
        options, framing = WindowOptions(crop=100, context=0), Framing(256, 128)
        one = watched_masker(torch.device("cpu"))
        source, _ = mask_source([one], options, n_frames=100, framing=framing, peaks={framing: 1.0})
        assert source.needs_from == 0

    def test_windows_that_were_too_many_are_not_tried_again(self, monkeypatch):
        """Halved once, the next windows come so few at a time at once; every try would cost as much as success."""
        watched = watched_masker(torch.device("cpu"))
        logits = Watched.logits

        def small(self, x):
            y = logits(self, x)
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return y

        monkeypatch.setattr(Watched, "logits", small)
        features = torch.rand(7, 2, 128, 3)
        for _ in range(2):
            masks = watched.masks(features, torch.ones(7, dtype=torch.bool))
            torch.testing.assert_close(masks, features.sigmoid())
        assert watched.network.n_windows == [7, 3, 1, 1, 1, 1, 1, 1, 1, *[1] * 7]
        assert len(watched.notes) == 2


def test_float32_is_float32_on_a_gpu():
    """Cards since 2020 would round what is convolved to ten bits, which some networks enlarge; others' setting stays."""
    watched, before = watched_masker(), convolution_precision()
    watched.masks(torch.rand(1, 2, 128, 3), AUDIBLE)
    assert watched.network.convolved_in == ["ieee"]
    assert convolution_precision() == before


def test_a_logit_that_overflows_is_redone_in_float32():
    """It makes a mask of 0 or 1, which looks sound."""
    broken, exact = Watched(), Watched()
    broken.logits = lambda x: x / torch.tensor([0.0, 1.0, 1.0])[:, None]
    one = Masker(name="one", network=broken, device=torch.device("cpu"), exact=lambda: exact)
    features = torch.rand(1, 2, 128, 3) + 0.1
    torch.testing.assert_close(one.masks(features, AUDIBLE), features.sigmoid())
    assert any("float32" in note for note in one.notes)


class TestCardsLeftBehind:
    @pytest.fixture(autouse=True)
    def card(self, monkeypatch):
        """A GTX 1080 under a torch for cards since 2018."""
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GTX 1080")
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a", "compute_120"])
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def test_auto_takes_the_cpu_and_says_so(self, tiny_checkpoint):
        """Where every kernel would fail, the first command works all the same."""
        notes = []
        assert setup.prepare(tiny_checkpoint, on_note=notes.append).device == "cpu"
        assert any("was not built for cuda:0" in note for note in notes)

    def test_one_that_is_asked_for_is_refused_with_a_way_out(self):
        """Instead of a traceback about a kernel image."""
        with pytest.raises(DeviceError, match="was not built for cuda:0, GTX 1080") as caught:
            pick_device("cuda")
        assert "--device cpu" in (caught.value.hint or "")

    @pytest.mark.parametrize(
        ("capability", "expected"), [((7, 0), False), ((7, 5), True), ((8, 9), True), ((10, 0), False), ((12, 1), True)]
    )
    def test_code_runs_on_later_cards_of_its_kind(self, capability, expected, monkeypatch):
        """Machine code on those of the same first number, code that is yet to be compiled on all."""
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        assert has_kernels(GPU) == expected
