"""What a training is: frozen dataclasses, written as a TOML file.

    output = "runs/mine"                 # where checkpoints, logs and the loss curve go

    [network]
    architecture = "mini"                # any of the project's; sizes = { ... } overrides the defaults

    [data]
    instrumentals = ["music"]            # folders, or { folder = "music", weight = 2.0, dry = false }
    vocals = ["voices"]
    pairs = ["stems"]                    # <song>_vocals beside <song>_instrumental, or a folder as MUSDB18-HQ

    [[stages]]                           # one after the other; longer crops later
    steps = 2000
    frames = 128
    batch = 6

All other tables (mixing, augment, loss, optimiser, validation, pretraining, adversary) and keys have defaults. Relative
paths are relative to the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A folder of recordings.

    Attributes:
        folder: The folder; files lie in it at any depth.
        weight: How often it is drawn from, relative to its neighbours.
        dry: Whether its voices were recorded without room, so that they get more reverb.
    """

    folder: Path
    weight: float = 1.0
    dry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Which network: an architecture and sizes that replace its defaults."""

    architecture: str = "mini"
    sizes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where sound comes from.

    Attributes:
        instrumentals: Folders of music in which nobody sings.
        vocals: Folders of voices alone.
        pairs: Folders of stems that belong together; see `frametx.pairs`.
        cache: Where decoded copies go; None: below the output.
        workers: Processes that mix songs ahead of need; 0: the training itself mixes them.
    """

    instrumentals: tuple[Source, ...] = ()
    vocals: tuple[Source, ...] = ()
    pairs: tuple[Source, ...] = ()
    cache: Path | None = None
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingConfig:
    """How songs are made.

    Attributes:
        true_pairs: Share of mixtures whose stems belong together.
        no_vocals: Share without vocals.
        only_vocals: Share without instruments.
        second_voice: Share of random mixtures with another voice below the first.
        vocals_db: Mean level of vocals relative to the instrumental, dB.
        vocals_db_spread: Standard deviation of that level, dB; it stays within 2.5 of them below and 3 above.
        headroom_db: The peak of a crop lies up to so many dB below the peak its song is supposed to have.
    """

    true_pairs: float = 0.25
    no_vocals: float = 0.1
    only_vocals: float = 0.03
    second_voice: float = 0.1
    vocals_db: float = -4.0
    vocals_db_spread: float = 4.0
    headroom_db: float = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Augmentation: shares of the draws it is applied to, and how far it goes.

    Attributes:
        speed: Share played faster or slower (pitch and tempo together).
        speed_semitones: How far.
        swap: Share with channels swapped; half of all get their polarity turned as well.
        width: Share with another stereo width.
        spread: Share of the vocals that is panned, doubled or widened.
        background: Share of the vocals that is made a choir, holding chords; with effects mostly dark and far away.
        narrow: Share of the instrumentals that is brought near mono.
        band_limit: Share without its highest frequencies.
        effects: Whether equalisers, compression, distortion, chorus, delay, reverb and MP3 loss are used; they need the
            extra `frametx[train]`.
        equaliser_db: How far equalisers go.
        codec: Share that goes through MP3.
    """

    speed: float = 0.5
    speed_semitones: float = 4.0
    swap: float = 0.5
    width: float = 0.35
    spread: float = 0.4
    background: float = 0.0
    narrow: float = 0.15
    band_limit: float = 0.05
    effects: bool = False
    equaliser_db: float = 4.0
    codec: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms; each is relative to the mixture, so that 1 is a fair weight.

    Attributes:
        complex: Absolute error of the masked complex spectrum.
        energy: Logarithm of the error's energy, which is what SDR measures.
        root: Absolute error of the square-rooted magnitudes of both stems.
        magnitude: Absolute error of the instrumental's magnitude.
        mel: The same in mel bands.
        wave: Absolute error of the waveform.
        mel_bands: Number of mel bands.
    """

    complex: float = 1.0
    energy: float = 0.0
    root: float = 1.0
    magnitude: float = 0.0
    mel: float = 0.0
    wave: float = 0.0
    mel_bands: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """The optimiser and its schedule.

    Attributes:
        kind: adamw, or muon, which learns the matrices inside the networks in fewer steps, at the same rates.
        learning_rate: The highest.
        final_share: Share of it left at the end.
        warmup_steps: Steps to reach it.
        decay: How it falls: cosine, polynomial or constant.
        power: Power of the polynomial.
        weight_decay: On matrices and kernels.
        betas: AdamW's.
        clip_norm: Largest norm of the gradient; 0: no limit.
        accumulate: Batches whose gradients make one step.
        ema: Decay of the averaged weights, which are what is validated and exported; 0: none.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    final_share: float = 0.001
    warmup_steps: int = 150
    decay: Literal["cosine", "polynomial", "constant"] = "cosine"
    power: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    accumulate: int = 1
    ema: float = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """So many steps with crops of so many frames (1024 samples each), so many in a batch (over all processes)."""

    steps: int
    frames: int
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """What is measured now and then, by the code of `frametx evaluate`.

    Attributes:
        pairs: The folder of the validation songs' stems; None: nothing is measured.
        every_steps: Steps from one validation to the next; 0: none.
        window_seconds: Length of the windows that are judged.
        vocals_db: Level of the vocals relative to the instrumental, dB, set in every window; `false` in the file: as they
            are.
        windows_per_song: At most so many.
    """

    pairs: Path | None = None
    every_steps: int = 200
    window_seconds: float = 10.0
    vocals_db: float | None = -5.0
    windows_per_song: int = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingConfig:
    """Denoising before the stages: the network sees noisy instrumentals and shall remove the noise.

    Attributes:
        steps: How long; 0: not at all. The first stage's crops and batches are used.
        noise_db: Level of the noise relative to the instrumental, dB.
        decoder_only: Leave the encoders (parameters named enc...) as they are meanwhile.
    """

    steps: int = 0
    noise_db: float = -6.0
    decoder_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversaryConfig:
    """A discriminator of magnitudes, trained along.

    Attributes:
        weight: Weight of its loss term; 0: there is none.
        start_step: The first step it takes part in.
        learning_rate: The discriminator's own.
        channels: Channels of its first layer.
    """

    weight: float = 0.0
    start_step: int = 0
    learning_rate: float = 2e-4
    channels: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A whole training; the tables, and keys of its own.

    Attributes:
        output: The folder that receives checkpoints, logs and the loss curve.
        stages: What comes after any pre-training, one after the other.
        seed: What the first weights and all mixtures are drawn from.
        precision: bf16: the network's forward pass runs under autocast; weights stay float32.
        export: Number format of the weights that others use.
        checkpoint_steps: Steps from one checkpoint to the next.
        log_steps: Steps from one line of the log to the next.
        stop_after: Stop after so many steps of the whole training; None: at its end.
    """

    output: Path
    stages: tuple[Stage, ...]
    data: DataConfig
    network: NetworkConfig = field(default_factory=NetworkConfig)
    mixing: MixingConfig = field(default_factory=MixingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    export: Literal["fp32", "fp16"] = "fp32"
    checkpoint_steps: int = 100
    log_steps: int = 10
    stop_after: int | None = None

    @property
    def total_steps(self) -> int:
        """Steps over pre-training and all stages."""
        return self.pretraining.steps + sum(stage.steps for stage in self.stages)
