"""`frametx bench`: what it measures and what it refuses."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from frametx.bench import RELEASED, Measurement, Peaks, Run, bench
from frametx.cli.app import app
from frametx.errors import FrametxError, ModelLimitError, UsageError
from frametx.manifest import load_manifest
from frametx.models.detect import NETWORKS
from frametx.operations import operations


@pytest.mark.parametrize(("name", "gflop"), [("v7", 20), ("v8", 30), ("v10", 43)])
def test_operations_are_the_known_ones(name, gflop):
    """The count per second of audio at 2048 frames is the specification's within a tenth."""
    with torch.device("meta"):
        network = NETWORKS[name]()
    per_second = operations(network, 2048) / (2048 * 1024 / 44100) / 1e9
    assert per_second == pytest.approx(gflop, rel=0.1)


@pytest.mark.parametrize("name", ["mini", "v10"])
def test_operations_are_what_torch_counts(name):
    """Beside torch's own counter, in a window so narrow that attention, which may be computed otherwise, costs nothing."""
    with torch.device("meta"):
        network = NETWORKS[name]()
    counted = operations(network, 2)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, network.in_channels, network.n_bins, 2, device="meta"))
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_no_heading_of_the_table_is_cut_in_80_columns(monkeypatch):
    """The narrowest terminal that is usual shows every word and every figure."""
    slow = Measurement(
        model="gan-v1",
        precision="bf16",
        frames=16384,
        seconds=1000.0,
        seconds_per_audio_second=12.34,
        gflops=1234.0,
        percent_of_matrix_peak=100.0,
        percent_of_convolution_peak=100.0,
        peak_bytes=123 * 2**30,
        song_seconds=3661.0,
    )
    peaks = Peaks(precision="bf16", matrix=1000.0, convolution=1000.0)
    monkeypatch.setattr("frametx.bench.bench", lambda *_, **__: ([peaks], [slow]))
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(app, ["bench"]).stdout.splitlines()
    words = " ".join(lines).split()
    assert max(map(len, lines)) <= 80
    assert {
        "model",
        "precision",
        "audio",
        "GFLOP/s",
        "convolution",
        "4-minute",
        "song",
        "16384",
        "12.34",
        "61:01",
    } <= set(words)


@pytest.mark.slow
def test_json_holds_peaks_and_results():
    """The command measures a network in a process of its own and prints its figures as JSON."""
    result = CliRunner().invoke(app, ["bench", "v9", "--crop", "10", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    [figures] = facts["results"]
    [peaks] = facts["peaks"]
    assert figures["frames"] == 256
    assert figures["percent_of_matrix_peak"] == pytest.approx(100 * figures["gflops"] / peaks["matrix"])
    assert figures["peak_bytes"] > 160_000_000 * 4
    assert figures["song_seconds"] == pytest.approx(240 * figures["seconds_per_audio_second"])


@pytest.mark.slow
def test_another_implementation_is_measured_beside(tmp_path, monkeypatch):
    """One that always answers with logits of zero differs from a mask by its distance from a half."""
    (tmp_path / "mine.py").write_text("def always(name, tensors, x): return 0 * x[:, :2]", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["bench", "v9", "--crop", "10", "--device", "cpu", "--against", "mine:always"])
    assert result.exit_code == 0, result.output
    assert re.search(r"ratio \d+\.\d\d; masks differ by [1-9]\.\de-0[1-9] at most", result.stderr.replace("\n", " "))


def test_a_measurement_that_fails_costs_no_other(monkeypatch):
    """The networks after one that does not fit are measured and shown, and the command says that not all is there."""
    began = []

    def run(function, *arguments):
        if len(arguments) == 2:  # the machine's peaks
            return Peaks(precision=arguments[0], matrix=100.0, convolution=100.0)
        began.append(arguments[0])
        if arguments[0] == "v4":
            raise FrametxError("measuring v4 fp32 ended with exit code -9", "measure a smaller crop")
        return Run(1.0, 2**30, torch.zeros(1, 2, 4, 4).numpy())

    monkeypatch.setattr("frametx.bench.in_fresh_process", run)
    result = CliRunner().invoke(app, ["bench", "v10", "v4", "v9", "--crop", "256", "--json"])
    assert result.exit_code == 1
    assert began == ["v10", "v4", "v9"]
    assert [figures["model"] for figures in json.loads(result.stdout)["results"]] == ["v10", "v9"]
    assert "error: measuring v4 fp32 ended with exit code -9\nhint: measure a smaller crop" in result.stderr


def test_a_window_too_wide_is_refused_before_anything_runs(monkeypatch):
    """A limit of the last network is told before the first is measured."""
    monkeypatch.setattr("frametx.bench.in_fresh_process", lambda *_: pytest.fail("something ran"))
    with pytest.raises(ModelLimitError, match="at most"):
        bench(["v10", "v7"], ["fp32"], frames=[100_000])


@pytest.mark.parametrize("name", ["no_such_module:forward", "json:forward", "json", ""])
def test_another_implementation_must_be_there(name):
    """What names no function is answered with the form it should have, before anything runs."""
    with pytest.raises(UsageError, match="there is no") as caught:
        bench(["v9"], ["fp32"], against=name)
    assert "module:function" in caught.value.hint


def test_an_unknown_model_is_refused_before_anything_runs():
    """A misspelt architecture is answered with those that there are."""
    with pytest.raises(UsageError, match="no architecture 'v12'"):
        bench(["v12"], ["fp32"])


def test_an_unknown_precision_is_refused():
    """A misspelt precision is answered with those that there are."""
    result = CliRunner().invoke(app, ["bench", "v9", "--precision", "int8"])
    assert isinstance(result.exception, UsageError)
    assert "fp32, bf16, fp16" in result.exception.hint


@pytest.mark.parametrize("crop", ["0", "1024,", "wide", "-5"])
def test_a_window_must_have_frames(crop):
    """What is no positive number is answered with an example."""
    result = CliRunner().invoke(app, ["bench", "v9", "--crop", crop])
    assert isinstance(result.exception, UsageError)
    assert "--crop 1024,2048,4096" in result.exception.hint


def test_all_released_architectures_are_measured_by_default():
    """Those of which the manifest has a checkpoint."""
    assert set(RELEASED) == {snapshot.architecture for snapshot in load_manifest().snapshots.values()}
