"""Trainings of tiny networks: they learn, resume, share work, and say what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from frametx.cli.app import app
from frametx.errors import AudioError, TrainingError
from frametx.models.checkpoint import load_network
from frametx.training import distributed
from frametx.training.checkpoints import load_state
from frametx.training.config_file import read_config
from frametx.training.distributed import Process, join_processes
from frametx.training.log import read_log
from frametx.training.loop import Trainer

if TYPE_CHECKING:
    from pathlib import Path

ALONE = Process(rank=0, count=1, device=torch.device("cpu"))


def trained(config: Path) -> Trainer:
    trainer = Trainer(read_config(config), ALONE)
    trainer.run()
    return trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.network.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 0.0) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=atol)


def test_the_command_learns_a_toy_set_and_leaves_a_model(write_config):
    """`frametx train` comes visibly nearer to the truth, and its weights load like any checkpoint."""
    config = write_config(steps=40, batch=4, validate=40, optimiser="ema = 0.9", log_steps=5)
    result = CliRunner().invoke(app, ["train", str(config), "--device", "cpu"])
    assert result.exit_code == 0, (result.output, result.exception)
    run = config.parent / "run"
    losses = [row["loss"] for row in read_log(run / "log.csv")]
    assert losses[-1] < 0.7 * losses[0]
    (validation,) = read_log(run / "validation.csv")
    assert validation["gain"] > 3
    assert load_network(run / "model.safetensors").architecture == "mini"
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").iterdir())


def test_weights_get_the_permissions_of_the_umask(write_config):
    """Others may use what somebody trained, as far as the umask lets them."""
    before = os.umask(0o027)
    try:
        output = trained(write_config(steps=1)).config.output
    finally:
        os.umask(before)
    assert (output / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(write_config, monkeypatch):
    """Torch's own complaint about a full disk is translated, and no part of a file stays behind."""

    def full(_state, path):
        path.write_bytes(b"begun")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 108544 vs 108464")

    config = write_config(steps=2, checkpoint_steps=1, top="stop_after = 1")
    trained(config)
    monkeypatch.setattr(torch, "save", full)
    config.write_text(config.read_text("utf-8").replace("stop_after = 1", ""), "utf-8")
    with pytest.raises(TrainingError, match=r"last\.pt cannot be written"):
        trained(config)
    state = load_state(config.parent / "run")
    assert state is not None
    assert state["step"] == 1
    assert not list((config.parent / "run").glob("*.part"))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_an_interrupted_training_goes_on_exactly(write_config, kind):
    """Stopped after three steps and run again, the weights are those of a run without a stop."""
    sizes = "{ channels = [32, 32, 32], maps = [2, 2, 2], hidden = [16, 16, 16], heads = 2, n_fft = 256 }"
    changes = {"steps": 6, "sizes": sizes, "optimiser": f'kind = "{kind}"'}
    straight = trained(write_config("straight", **changes))
    stopped = write_config("stopped", top="stop_after = 3", **changes)
    trained(stopped)
    stopped.write_text(stopped.read_text("utf-8").replace("stop_after = 3", ""), encoding="utf-8")
    assert_same(weights(trained(stopped)), weights(straight))
    assert [row["step"] for row in read_log(stopped.parent / "run" / "log.csv")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_keeps_the_steps_that_were_made(write_config, workers):
    """Pressed once, whatever is between two checkpoints is kept, and the training goes on exactly."""
    straight = trained(write_config("straight", steps=4))
    config = write_config("stopped", steps=4)
    config.write_text(config.read_text("utf-8").replace("workers = 0", f"workers = {workers}"), "utf-8")

    def press(report):
        if report.kind == "step" and report.step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Trainer(read_config(config), ALONE, listener=press).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    state = load_state(config.parent / "run")
    assert state is not None
    assert state["step"] == 2
    assert_same(weights(trained(config)), weights(straight))


def test_accumulated_batches_are_one_large_batch(write_config):
    """Two batches of two make the step that one batch of four makes."""
    large = trained(write_config("large", steps=2, batch=4))
    small = trained(write_config("small", steps=2, batch=2, optimiser="accumulate = 2"))
    assert_same(weights(small), weights(large), atol=2e-4)


def in_two_processes(config: Path, *program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Train under torchrun, the program being `-m frametx` or a file."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*torchrun, *program, "train", str(config), "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_processes_do_what_one_does(write_config):
    """Two gloo processes under torchrun end with the weights of one process with the whole batch, noise included."""
    pretraining = "[pretraining]\nsteps = 1"
    alone = trained(write_config("alone", steps=2, batch=4, more=pretraining))
    shared = write_config("shared", steps=2, batch=4, more=pretraining)
    done = in_two_processes(shared, "-m", "frametx")
    assert done.returncode == 0, done.stderr[-2000:]
    state = load_state(shared.parent / "run")
    assert state is not None
    assert_same(state["network"], weights(alone), atol=2e-4)


@pytest.mark.parametrize(("nccl", "backend"), [(True, "nccl"), (False, "gloo")])
def test_gpus_are_joined_by_what_there_is(nccl, backend, monkeypatch):
    """By gloo on Windows, where there is no NCCL."""
    begun = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "pick_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: nccl)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda name, **_: begun.append(name))
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with join_processes("auto") as process:
        assert process.device.type == "cuda"
    assert begun == [backend]


class Sent(torch.Tensor):
    """Tells how it is sent to a device instead of going there."""

    def to(self, device, *, non_blocking=False):
        raise RuntimeError(f"{device} does not wait: {non_blocking}")


@pytest.mark.parametrize(
    ("device", "told"), [("mps", "mps does not wait: False"), ("cuda", "cuda does not wait: True")]
)
def test_songs_are_copied_before_their_memory_is_used_again(write_config, device, told):
    """Apple's GPUs don't hold on to what they copy in the background; CUDA does."""
    trainer = Trainer(read_config(write_config()), ALONE)
    objective = trainer._objective
    objective.process = Process(rank=0, count=1, device=torch.device(device))
    stems = torch.zeros(1, 2, 2, 8).as_subclass(Sent)
    with pytest.raises(RuntimeError, match=told):
        objective.terms(stems, torch.zeros(1), trainer.phases[0], first_number=0, adversarial=False)


DYING = """
import os, signal, torch
from frametx.cli import main

step, n_steps = torch.optim.AdamW.step, 0

def dying(*arguments, **options):
    global n_steps
    n_steps += 1
    if n_steps == 3 and os.environ["RANK"] == os.environ.get("DIES"):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments, **options)

torch.optim.AdamW.step = dying
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_costs_the_steps_since_the_checkpoint(write_config, tmp_path, rank):
    """With either rank killed -9 in its third step torchrun gives up; run again, it goes on from the last checkpoint."""
    alone = trained(write_config("alone", steps=4, batch=4))
    shared = write_config("shared", steps=4, batch=4, checkpoint_steps=1)
    (tmp_path / "dying.py").write_text(DYING, "utf-8")
    assert in_two_processes(shared, str(tmp_path / "dying.py"), DIES=rank).returncode != 0
    state = load_state(shared.parent / "run")
    assert state is not None
    assert state["step"] in (2, 3)  # the leading process may end its own step before torchrun stops it
    done = in_two_processes(shared, str(tmp_path / "dying.py"))
    assert done.returncode == 0, done.stderr[-2000:]
    state = load_state(shared.parent / "run")
    assert state is not None
    assert_same(state["network"], weights(alone), atol=5e-4)


FORGETFUL = """
import os
from frametx.cli import main
from frametx.training import loop

if os.environ["RANK"] == "1":
    loop.load_state = lambda folder: None
main()
"""


@pytest.mark.slow
def test_processes_that_resume_at_different_steps_do_not_train(write_config, tmp_path):
    """Machines without a shared output folder would drift apart without a word: they are told what to do."""
    trained(write_config("toy", batch=4, top="stop_after = 2"))
    (tmp_path / "forgetful.py").write_text(FORGETFUL, "utf-8")
    done = in_two_processes(write_config("toy", batch=4), str(tmp_path / "forgetful.py"))
    assert done.returncode != 0
    assert "do not begin at the same step" in done.stderr


def test_stages_change_the_crops(write_config):
    """A second stage with longer crops follows the first, and the schedule spans both."""
    more = "[[stages]]\nsteps = 2\nframes = 100\nbatch = 1\n"
    trainer = trained(write_config(steps=2, more=more, loss="mel = 1.0\nwave = 1.0\nmagnitude = 1.0"))
    assert trainer.step == 4
    (row, *_) = read_log(trainer.config.output / "log.csv")
    assert {"complex", "root", "mel", "wave", "magnitude"} <= set(row)


def test_pretraining_leaves_the_encoders_alone(write_config):
    """While the decoder learns to denoise, parameters of the encoders stay as they were."""
    config = write_config(steps=1, more="[pretraining]\nsteps = 2\n", top="stop_after = 2")
    before = {name: p.clone() for name, p in Trainer(read_config(config), ALONE).network.named_parameters()}
    trainer = trained(config)
    moved = {name for name, p in trainer.network.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("dec") for name in moved)
    assert not any(name.startswith("enc") for name in moved)


def test_an_adversary_trains_along(write_config):
    """With a weight, a discriminator adds its term and is kept in the checkpoint."""
    trainer = trained(write_config(steps=2, more="[adversary]\nweight = 0.1\nchannels = 4\n"))
    assert "adversary" in read_log(trainer.config.output / "log.csv")[0]
    state = load_state(trainer.config.output)
    assert state is not None
    assert "adversary" in state


def test_an_adversary_that_begins_late_gets_its_column(write_config):
    """Steps before it have no figure of it in the log, later ones have, and no figure stands in another's column."""
    trainer = trained(write_config(steps=3, more="[adversary]\nweight = 0.1\nchannels = 4\nstart_step = 2\n"))
    rows = read_log(trainer.config.output / "log.csv")
    assert ["adversary" in row for row in rows] == [False, False, True]
    assert all(0 < row["learning_rate"] <= 3e-3 for row in rows)


@pytest.mark.parametrize(
    ("architecture", "sizes", "frames"),
    [
        ("v10", "{ n_fft = 256, embedding = 1, num_heads = 4, expansion = 1 }", 16),
        ("v8", "{ n_fft = 256, channels = 2, num_heads = 2 }", 16),
        ("v9", "{ channels = 1, num_layers = 1, chunk_size = 8, num_heads = 2, expansion = 8, n_fft = 128 }", 64),
        ("v4", "{ n_fft = 512, num_heads = 2 }", 16),
    ],
)
def test_other_architectures_train(write_config, architecture, sizes, frames):
    """A step changes the weights of networks that are fed magnitudes, phases or their own past."""
    config = write_config(architecture=architecture, sizes=sizes, frames=frames, steps=1, batch=1)
    before = {k: v.clone() for k, v in Trainer(read_config(config), ALONE).network.state_dict().items()}
    assert any(not torch.equal(v, before[k]) for k, v in weights(trained(config)).items())


def test_bfloat16_stays_close(write_config):
    """A step under autocast ends near the float32 one."""
    exact, half = (
        trained(write_config("exact", steps=1)),
        trained(write_config("half", steps=1, top='precision = "bf16"')),
    )
    a, b = (read_log(t.config.output / "log.csv")[0]["loss"] for t in (exact, half))
    assert a == pytest.approx(b, rel=0.02)


def test_training_from_a_checkpoint_begins_with_its_weights(write_config):
    """`--from` takes network and sizes from a file and leaves the file as it was."""
    first = trained(write_config("first", steps=1)).config.output / "model.safetensors"
    before = load_file(first)
    second = write_config("second", steps=1, sizes="{}", learning_rate=1e-9)
    result = CliRunner().invoke(app, ["train", str(second), "--from", str(first), "--device", "cpu", "--quiet"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert_same(load_file(second.parent / "run" / "model.safetensors"), before, atol=1e-6)
    assert_same(load_file(first), before)


def test_a_training_from_a_checkpoint_goes_on_without_it(write_config):
    """Run again, with the same command or without `--from`, it keeps the network that it began with."""
    first = trained(write_config("first", steps=1)).config.output / "model.safetensors"
    second = write_config("second", steps=3, sizes="{}", top="stop_after = 1")
    for step, begin in ((1, ["--from", str(first)]), (2, []), (3, ["--from", str(first)])):
        second.write_text(
            second.read_text("utf-8").replace(f"stop_after = {step - 1}", f"stop_after = {step}"), "utf-8"
        )
        result = CliRunner().invoke(app, ["train", str(second), "--device", "cpu", *begin])
        assert result.exit_code == 0, (result.output, result.exception)
        assert f"{step} steps" in result.output
    assert "--from is not used" in result.output


def test_checkpoints_from_before_they_said_how_they_began_go_on(write_config):
    """Those of a training with `--from`, run again with the same command."""
    first = trained(write_config("first", steps=1)).config.output / "model.safetensors"
    second = write_config("second", steps=2, sizes="{}", top="stop_after = 1")
    Trainer(read_config(second), ALONE, start_from=first).run()
    path = second.parent / "run" / "last.pt"
    state = torch.load(path, weights_only=True)
    del state["foreign"], state["optimiser_kind"]
    torch.save(state, path)
    second.write_text(second.read_text("utf-8").replace("stop_after = 1", ""), "utf-8")
    trainer = Trainer(read_config(second), ALONE, start_from=first)
    trainer.run()
    assert trainer.step == 2


def test_a_resumed_training_follows_the_config(write_config):
    """Weight decay and betas changed in the config are those it goes on with."""
    path = write_config(steps=1)
    trained(path)
    changed = write_config(steps=2, optimiser="weight_decay = 0.5\nbetas = [0.5, 0.6]")
    optimiser = Trainer(read_config(changed), ALONE).optimiser
    assert {group["betas"] for group in optimiser.param_groups} == {(0.5, 0.6)}
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.5, 0.0}


def test_a_resumed_adversary_follows_the_config(write_config):
    """Its learning rate is the config's, who may have changed it; another size is refused."""
    text = "[adversary]\nweight = 0.1\nchannels = {}\nlearning_rate = {}\n"
    trained(write_config(steps=1, more=text.format(4, 1e-4)))
    adversary = Trainer(read_config(write_config(steps=2, more=text.format(4, 3e-5))), ALONE).adversary
    assert adversary is not None
    assert [group["lr"] for group in adversary.optimiser.param_groups] == [3e-5]
    with pytest.raises(TrainingError, match=r"adversary\.channels = 8"):
        Trainer(read_config(write_config(steps=2, more=text.format(8, 1e-4))), ALONE)


@pytest.mark.parametrize(("songs", "said"), [("pairs", True), ("other", False)])
def test_validation_songs_that_are_learnt_are_told(write_config, songs, said):
    """What is measured on songs of the training says nothing about others."""
    config = write_config(validate=2)
    (config.parent / "other").mkdir()
    for path in (config.parent / "pairs").iterdir():
        (config.parent / "other" / path.name).write_bytes(path.read_bytes())
    config.write_text(config.read_text("utf-8").replace('\npairs = "pairs"', f'\npairs = "{songs}"'), "utf-8")
    notes = []
    Trainer(read_config(config), ALONE, listener=lambda report: notes.append(report.text))
    assert any("share songs" in note for note in notes) == said


class TestComplaints:
    def test_validation_songs_shorter_than_a_window_are_said_at_once(self, write_config):
        """Not at the first validation, when the steps since the last checkpoint would be lost."""
        config = write_config(steps=4, validate=4)
        text = config.read_text("utf-8").replace("window_seconds = 2.0", "window_seconds = 7.0")
        config.write_text(text, "utf-8")
        with pytest.raises(AudioError, match=r"no song as long as a window of validation, 7 s") as caught:
            Trainer(read_config(config), ALONE)
        assert "6.0 s" in (caught.value.hint or "")

    def test_memory_that_runs_out_is_said(self, write_config, monkeypatch):
        """The most common end of a fine-tuning: sizes and ways out instead of a traceback."""

        def full(*_):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        monkeypatch.setattr("frametx.training.losses.SeparationLoss.forward", full)
        with pytest.raises(TrainingError, match="batches of 2 with crops of 64 frames do not fit into") as caught:
            trained(write_config(steps=1))
        assert "optimiser.accumulate" in caught.value.hint

    def test_another_optimiser_is_refused(self, write_config):
        """What Muon remembers is of no use to AdamW."""
        trained(write_config(steps=1, optimiser="kind = 'muon'"))
        with pytest.raises(TrainingError, match=r"optimiser\.kind = 'muon'"):
            trained(write_config(steps=2, optimiser="kind = 'adamw'"))

    def test_validation_songs_that_are_missing_are_said_at_once(self, write_config):
        """Not only after the first hundred steps."""
        config = write_config(steps=4, validate=4)
        config.write_text(config.read_text("utf-8").replace('pairs = "pairs"', 'pairs = "nowhere"'), "utf-8")
        with pytest.raises(AudioError, match="nowhere is no folder"):
            Trainer(read_config(config), ALONE)

    @pytest.mark.parametrize("sizes", ["{ channels = [8, -8, 8] }", "{ heads = 0 }"])
    def test_sizes_of_no_network_are_said(self, write_config, sizes):
        """Whatever the constructor raises."""
        with pytest.raises(TrainingError, match="do not fit mini"):
            trained(write_config(sizes=sizes))

    def test_an_output_that_is_a_file_is_said(self, write_config):
        """The message names it; nothing but that is wrong."""
        config = write_config(steps=1)
        (config.parent / "run").write_text("", encoding="utf-8")
        result = CliRunner().invoke(app, ["train", str(config), "--device", "cpu"])
        assert isinstance(result.exception, TrainingError)
        assert "run" in result.exception.message

    def test_a_loss_that_is_no_number_stops_the_training(self, write_config):
        """Weights that run away end in an error that names the step and the way out."""
        with pytest.raises(TrainingError, match="step 1: not a number") as caught:
            trained(write_config(loss="complex = inf"))
        assert "learning_rate" in caught.value.hint

    def test_an_output_of_another_network_is_not_overwritten(self, write_config):
        """A folder with a checkpoint of other sizes is refused."""
        trained(write_config(steps=1))
        with pytest.raises(TrainingError, match="another network"):
            trained(write_config(steps=1, sizes="{ n_fft = 256, heads = 2 }"))

    def test_sizes_that_do_not_fit_are_named(self, write_config):
        """An unknown size is the config's fault and said to be."""
        with pytest.raises(TrainingError, match="do not fit mini"):
            trained(write_config(sizes="{ wings = 2 }"))

    def test_processes_on_apples_gpus_are_refused(self, monkeypatch):
        """Torch connects none of them; it would say so in words of its own."""
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setattr(distributed, "pick_device", lambda _: torch.device("mps"))
        with pytest.raises(TrainingError, match="cannot share a training") as caught, join_processes("auto"):
            pass
        assert "torchrun" in caught.value.hint

    def test_a_batch_that_cannot_be_shared_is_refused(self):
        """Three songs cannot be shared by two processes."""
        with pytest.raises(TrainingError, match="batch of 3 cannot be shared by 2"):
            Process(rank=0, count=2, device=torch.device("cpu")).share_of(3)
