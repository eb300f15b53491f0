"""From options to mask sources: which windows each model gets, and how all the masks become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from frametx.chunks import Chunk, plan_chunks, plan_grid
from frametx.ensemble import Rule, join_masks
from frametx.errors import ModelLimitError, UsageError
from frametx.models.network import Feeding, Network
from frametx.postprocess import MergedArtifacts
from frametx.reframing import ReframedFeeder
from frametx.stream import JoinedMasks, MaskSource, MaskStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from frametx.journal import Journal
    from frametx.masker import Masker
    from frametx.spectrum import Framing
    from frametx.stream import Watch, WindowFeeder

DEFAULT_CROP = 1792
DEFAULT_CONTEXT = 128
# owned frames and context of each pass; the mean of their masks is the result
TTA_WINDOWS = ((64, 128), (128, 256), (256, 512), (512, 1024), (1024, 2048))


@dataclass(frozen=True, slots=True)
class Plan:
    """Chunks that cover a song, and the frames over which neighbours are cross-faded."""

    chunks: list[Chunk]
    fade: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowOptions:
    """How a song is cut into windows and how masks are joined.

    Attributes:
        crop: Frames a chunk owns; None: what suits the model.
        context: Frames it sees beyond on either side; None: what suits the model. 0 gives the hard borders and the
            fixed grid of windows of the original program.
        batch_size: Windows at once; None: one on a CPU, as many as fit on a GPU.
        rule: How the masks of several models are joined; None: as the preset says, else the minimum.
        weights: For the rule `mean`: one weight a model.
        tta: Mean over five window sizes.
        postprocess: Merge artifacts.
        original: Windows, borders and the treatment of the Nyquist bin exactly as in the original program.
    """

    crop: int | None = None
    context: int | None = None
    batch_size: int | None = None
    rule: Rule | None = None
    weights: tuple[float, ...] | None = None
    tta: bool = False
    postprocess: bool = False
    original: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, value, least in (
            ("crop", self.crop, 1),
            ("context", self.context, 0),
            ("batch size", self.batch_size, 1),
        ):
            if value is not None and value < least:
                raise UsageError(f"--{name.replace(' ', '-')} {value} is too small", f"use {least} or more")
        if self.rule is not None and self.rule not in tuple(Rule):
            raise UsageError(f"'{self.rule}' is no rule for an ensemble", f"use {', '.join(Rule)}")
        if self.tta and (self.crop is not None or self.context is not None):
            raise UsageError("--tta brings its own window sizes", "leave out --crop and --context")

    @property
    def grid(self) -> bool:
        """Whether windows lie on the original program's grid and see only the frames that it saw."""
        return self.original or self.context == 0


def mask_source(
    maskers: list[Masker],
    options: WindowOptions,
    *,
    n_frames: int,
    framing: Framing,
    peaks: Mapping[Framing, float],
    on_chunk: Callable[[int], None] | None = None,
    watch: Watch | None = None,
    journal: Journal | None = None,
) -> tuple[MaskSource, int]:
    """Build the one source that says the song's mask.

    Args:
        maskers: The models, at least one.
        options: Windows and rules.
        n_frames: Frames of the song.
        framing: The STFT that frames come in, the models' `common_framing`.
        peaks: The song's largest magnitude in each model's STFT, greater than 0.
        on_chunk: Called with the number of frames that a finished batch owned.
        watch: Shown the masks of all models side by side, where there are several.
        journal: Where masks are kept, and read back after an interruption.

    Returns:
        The source, and how many frames `on_chunk` will have been called with in the end.

    Raises:
        ModelLimitError: A model cannot take windows of that width.
    """
    n_planned = n_streams = 0
    per_model: list[MaskSource] = []
    for masker in maskers:
        streams: list[MaskSource] = []
        for plan in plans(masker.name, masker.network, options, n_frames):
            own_framing = masker.network.framing
            own = masker.feeder(peaks[own_framing])
            feeder: WindowFeeder = own if journal is None else journal.feeder(own, n_streams, len(plan.chunks))
            if own_framing != framing:
                feeder = ReframedFeeder(feeder, own_framing, framing)
            n_planned += n_frames
            n_streams += 1
            streams.append(_stream(masker, feeder, plan, framing, options.batch_size, on_chunk))
        per_model.append(streams[0] if len(streams) == 1 else JoinedMasks(streams, _mean))
    source = per_model[0]
    if len(per_model) > 1:
        rule = options.rule or Rule.MIN
        source = JoinedMasks(per_model, lambda masks: join_masks(masks, rule, options.weights), watch)
    if options.postprocess:
        source = MergedArtifacts(source, n_frames)
    return source, n_planned


def plans(name: str, network: Network, options: WindowOptions, n_frames: int) -> list[Plan]:
    """The plans of one model: one, or several with `tta`.

    Raises:
        ModelLimitError: The model cannot take windows of that width.
    """
    if not options.tta:
        return [_plan(name, network, options, n_frames)]
    fitting = [(crop, context) for crop, context in TTA_WINDOWS if _fits(network, crop + 2 * context)]
    if not fitting:
        raise ModelLimitError(f"model '{name}' takes none of the window sizes of --tta", "leave out --tta")
    return [Plan(plan_grid(n_frames, crop, context), fade=0) for crop, context in fitting]


def _plan(name: str, network: Network, options: WindowOptions, n_frames: int) -> Plan:
    sequential = network.feeding is Feeding.HISTORY
    usual_crop, usual_context = network.usual_window or (DEFAULT_CROP, DEFAULT_CONTEXT)
    context = options.context
    if context is None:
        context = 0 if sequential or options.original else usual_context
    crop = options.crop
    if crop is None:
        crop = 4096 if sequential or options.original else usual_crop
    if sequential and options.original:
        crop, context = crop + 2 * context, 0  # the original program gave the context to the window itself
    width = crop + 2 * context
    if not _fits(network, width):
        raise ModelLimitError(
            f"model '{name}' takes no windows of {width} frames (--crop {crop} + 2 x --context {context})",
            _width_hint(network, context),
        )
    if sequential and not options.original and options.crop is None:
        crop = min(crop, network.fitting_width(n_frames))
    # a network that feeds on its own output needs windows of one width in order; without context the borders are hard
    # and the windows those of the original program
    chunks = plan_grid(n_frames, crop, context) if sequential or options.grid else plan_chunks(n_frames, crop, context)
    return Plan(chunks, fade=0 if options.original else context)


def _stream(
    masker: Masker,
    feeder: WindowFeeder,
    plan: Plan,
    framing: Framing,
    batch_size: int | None,
    on_chunk: Callable[[int], None] | None,
) -> MaskStream:
    network = masker.network
    if network.feeding is Feeding.HISTORY:
        batch_size = 1
    if batch_size is None:  # where there is one window, nothing has to be found out
        batch_size = masker.batch_size(plan.chunks[0].width) if len(plan.chunks) > 1 else 1
    return MaskStream(
        feeder,
        plan.chunks,
        fade=plan.fade,
        shape=(network.out_channels, framing.n_bins),
        device=masker.device,
        batch_size=batch_size,
        on_chunk=on_chunk,
    )


def _fits(network: Network, width: int) -> bool:
    try:
        return network.fitting_width(width) == width
    except ModelLimitError:
        return False


def _width_hint(network: Network, context: int) -> str:
    if network.feeding is Feeding.HISTORY:
        return f"its windows are multiples of {network.fitting_width(1)} frames: try --crop 4096 --context 0"
    assert network.max_width is not None
    return f"it takes at most {network.max_width} frames: try --crop {max(1, network.max_width - 2 * context)}"


def _mean(masks: list[Tensor]) -> Tensor:
    return torch.stack(masks).mean(0)
