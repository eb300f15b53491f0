"""The training itself, top to bottom: songs, loss, step; and what happens every so often."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from frametx.device import is_out_of_memory
from frametx.errors import TrainingError, reason_of
from frametx.training.adversary import Adversary
from frametx.training.augment import Augmenter
from frametx.training.checkpoints import BEST, LAST, MODEL, export, load_state, restore, save_state
from frametx.training.data import Mixer, Mixtures, Numbers, batches, open_recordings
from frametx.training.interrupt import Interrupt
from frametx.training.log import Log
from frametx.training.networks import copied_network, kept_network, new_network
from frametx.training.objective import Objective
from frametx.training.optimiser import Average, optimiser_for, rate_at
from frametx.training.plan import Phase, phases_of
from frametx.training.spectra import samples_for
from frametx.training.validation import check_songs, shared_with_training, validate

if TYPE_CHECKING:
    from pathlib import Path

    from frametx.models.network import Network
    from frametx.training.config import TrainingConfig
    from frametx.training.distributed import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a listener is told.

    Attributes:
        step: Steps done.
        total_steps: Steps in all.
        phase: Which stage it is.
        figures: Loss and its terms, learning rate, speed; or what a validation found.
        kind: step, validation or note.
        text: A note.
    """

    step: int
    total_steps: int
    phase: str = ""
    figures: dict[str, float]
    kind: str = "step"
    text: str = ""


Listener = Callable[[Report], None]


class Trainer:
    """One training, from its config to its last step.

    Args:
        config: The training.
        process: This process.
        start_from: A checkpoint to begin with instead of random weights.
        listener: Told how it goes; only in the process that leads.

    Raises:
        FrametxError: The config does not fit the network, the data or the machine.
    """

    def __init__(
        self,
        config: TrainingConfig,
        process: Process,
        *,
        start_from: Path | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.config = config
        self.process = process
        self._listener = listener
        torch.manual_seed(config.seed)
        self.step = 0
        state = load_state(config.output)
        # a network of --from, not the config's; kept in the checkpoint, so that the training goes on with it
        self._foreign = start_from is not None if state is None else bool(state.get("foreign", start_from))
        self.network = self._build(state, start_from).to(process.device)
        self.phases = phases_of(config)
        for phase in self.phases:
            self.network.check_width(phase.frames)
            process.share_of(phase.batch)
        self.average = Average(self.network, config.optimiser.ema)
        self.optimiser = optimiser_for(self.network, config.optimiser)
        self.adversary = Adversary(config.adversary, process.device) if config.adversary.weight else None
        self._stop = config.stop_after or config.total_steps
        self.best = -float("inf")
        if config.validation.pairs is not None and config.validation.every_steps and process.leads:
            check_songs(config.validation)
            for folder in shared_with_training(config):
                self._tell("note", text=f"{folder} and {config.validation.pairs} share songs: the gain is flattered")
        self._mixer = self._make_mixer()
        if state is not None:
            self._resume(state)
        if not process.all_equal(self.step):
            raise TrainingError(
                "the processes do not begin at the same step",
                f"give all machines the same {config.output / LAST}: on a shared disk, or copied to each",
            )
        self._parallel = process.wrap(self.network)
        self._objective = Objective(config, self.network, self._parallel, process, self.adversary)
        self._log = Log(config.output, self.step) if process.leads else None

    def run(self) -> Network:
        """Train until the last step; returns the network with the averaged weights.

        Raises:
            TrainingError: The loss is not a number.
            KeyboardInterrupt: Somebody pressed Ctrl-C; what was trained until then is kept.
        """
        self._tell("note", text=f"step {self.step} of {self.config.total_steps}")
        # processes that share the work may be at different steps when it reaches them
        with Interrupt() if self.process.count == 1 else nullcontext(Interrupt()) as interrupt:
            for phase in self.phases:
                if self.step < min(phase.end, self._stop) and not interrupt.asked:
                    self._run_phase(phase, interrupt)
            self._checkpoint()
        if self._log is not None:
            self._log.close()
        if interrupt.asked:
            raise KeyboardInterrupt
        return self.average.network

    def _run_phase(self, phase: Phase, interrupt: Interrupt) -> None:
        self._freeze_encoders(phase.denoise and self.config.pretraining.decoder_only)
        songs = self._songs(phase)
        started, logged = time.monotonic(), self.step
        end = min(phase.end, self._stop)
        while self.step < end and not interrupt.asked:
            figures = self._fitting_step(songs, phase)
            self.step += 1
            if self.step % self.config.log_steps == 0 or self.step == end:
                now = time.monotonic()
                figures["steps_per_second"] = (self.step - logged) / max(1e-9, now - started)
                started, logged = now, self.step
                self._tell("step", phase.name, figures)
                if self._log is not None:
                    self._log.step(self.step, figures)
            if self.config.validation.every_steps and self.step % self.config.validation.every_steps == 0:
                self._validate(phase)
            if self.step % self.config.checkpoint_steps == 0:
                self._checkpoint()

    def _fitting_step(self, songs: Iterator[tuple[Tensor, Tensor]], phase: Phase) -> dict[str, float]:
        """A step, with a way out where memory does not do for it."""
        try:
            return self._train_step(songs, phase)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"step {self.step + 1}: batches of {phase.batch} with crops of {phase.frames} frames do not fit into the "
                f"memory of {self.process.device}",
                "use smaller batches and optimiser.accumulate, which costs no memory; or fewer frames",
            ) from error

    def _train_step(self, songs: Iterator[tuple[Tensor, Tensor]], phase: Phase) -> dict[str, float]:
        """One step of the optimiser; returns what the log notes."""
        options = self.config.optimiser
        rate = rate_at(self.step, self.config.total_steps, options)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        adversarial = self.step >= self.config.adversary.start_step
        sums: dict[str, Tensor] = {}
        for turn in range(options.accumulate):
            last = turn == options.accumulate - 1
            waiting = nullcontext() if last or self.process.count == 1 else self._parallel.no_sync()  # type: ignore[operator]
            with waiting:
                terms = self._objective.terms(
                    *next(songs), phase, first_number=self._first_number(phase, turn), adversarial=adversarial
                )
                loss = torch.stack(list(terms.values())).sum()
                (loss / options.accumulate).backward()  # type: ignore[no-untyped-call]
            for name, term in (terms | {"loss": loss}).items():
                sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach() / options.accumulate
        names = list(sums)
        means = self.process.mean(torch.stack([sums[name] for name in names])).tolist()
        figures = dict(zip(names, means, strict=True))
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip_norm or float("inf"))
        broken = [name for name in names if not math.isfinite(figures[name])]
        if broken or not torch.isfinite(norm):
            raise TrainingError(
                f"step {self.step + 1}: not a number any more: {', '.join(broken) or 'the gradient'}",
                f"go on from the last checkpoint with a lower optimiser.learning_rate than {options.learning_rate:g}",
            )
        self.optimiser.step()
        self.average.update(self.network, self.step)
        return {"loss": figures.pop("loss")} | figures | {"learning_rate": rate, "gradient": float(norm)}

    def _songs(self, phase: Phase) -> Iterator[tuple[Tensor, Tensor]]:
        share = self.process.share_of(phase.batch)
        mixtures = Mixtures(self._mixer, samples_for(self.network, phase.frames), self.config.seed)
        numbers = Numbers(self._first_number(phase), share, self.process.rank, self.process.count)
        return batches(mixtures, numbers, self.config.data.workers)

    def _first_number(self, phase: Phase, turn: int = 0) -> int:
        """The number of the first song of a step's `turn`-th batch, over all processes."""
        n_batches = (self.step - phase.start) * self.config.optimiser.accumulate + turn
        return phase.first_number + n_batches * phase.batch

    def _make_mixer(self) -> Mixer:
        """Open the recordings; the leading process decodes first, the others find its copies."""
        if not self.process.leads:
            self.process.wait()
        augmenter = Augmenter(self.config.augment)
        least = max(samples_for(self.network, phase.frames) for phase in self.phases)
        recordings = open_recordings(self.config, least, lambda path: self._tell("note", text=f"decoding {path.name}"))
        if self.process.leads:
            self.process.wait()
        return Mixer(recordings, self.config.mixing, augmenter)

    def _freeze_encoders(self, frozen: bool) -> None:
        for name, parameter in self.network.named_parameters():
            if name.startswith(("enc", "positional")):
                parameter.requires_grad_(not frozen)

    def _validate(self, phase: Phase) -> None:
        if self.config.validation.pairs is None or self._log is None:
            return
        figures = validate(self.average.network, self.config.validation, self.process.device)
        self._log.validation(self.step, figures)
        self._tell("validation", phase.name, figures)
        if figures["gain"] > self.best:
            self.best = figures["gain"]
            export(self.average.network, self.config.output / BEST, self.config.export)

    def _checkpoint(self) -> None:
        if self._log is not None:
            state = {
                "step": self.step,
                "foreign": self._foreign,
                "optimiser_kind": self.config.optimiser.kind,
                "best": self.best,
                "network": self.network.state_dict(),
                "average": self.average.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            }
            if self.adversary is not None:
                state["adversary"] = self.adversary.state_dict()
            save_state(self.config.output, state)
            export(self.average.network, self.config.output / MODEL, self.config.export)
            self._log.picture()
        self.process.wait()

    def _build(self, state: dict[str, Any] | None, start_from: Path | None) -> Network:
        """The config's network, or that of `--from`, which a training that began so keeps."""
        if state is not None and start_from is not None:
            self._tell("note", text=f"{self.config.output} holds a training that goes on; --from is not used")
        if state is not None and self._foreign:
            return kept_network(state["network"], self.config.output / LAST)
        if state is None and start_from is not None:
            network = copied_network(start_from)
            self._tell("note", text=f"begins with {start_from} ({network.architecture}); [network] is not used")
            return network
        return new_network(self.config.network)

    def _resume(self, state: dict[str, Any]) -> None:
        restore(state, self.config, self.network, self.average.network, self.optimiser)
        if self.adversary is not None and "adversary" in state:
            self.adversary.load_state_dict(state["adversary"])
        self.step, self.best = int(state["step"]), float(state["best"])

    def _tell(self, kind: str, phase: str = "", figures: dict[str, float] | None = None, text: str = "") -> None:
        if self._listener is not None and self.process.leads:
            total = self.config.total_steps
            self._listener(
                Report(
                    step=self.step,
                    total_steps=total,
                    phase=phase,
                    figures=figures or {},
                    kind=kind,
                    text=text,
                )
            )


def train(
    config: TrainingConfig, process: Process, *, start_from: Path | None = None, listener: Listener | None = None
) -> dict[str, Any]:
    """Run a training to its end, or go on with one that was interrupted.

    Returns:
        `{"step": steps done, "model": path of the weights}`.

    Raises:
        FrametxError: As `Trainer`; or a file cannot be read or written.
    """
    try:
        trainer = Trainer(config, process, start_from=start_from, listener=listener)
        trainer.run()
    except OSError as error:
        where = error.filename or config.output
        raise TrainingError(
            f"{where}: {reason_of(error)}",
            "once that is mended, the same command goes on from the last checkpoint",
        ) from error
    return {"step": trainer.step, "model": config.output / MODEL}
