"""One song, from blocks of samples to stems.

A song is read as blocks; blocks become spectrogram frames; frames are cut into overlapping chunks; each model turns a
chunk into a mask; the masks of an ensemble are joined; mask x mix is the instrumental and mix - instrumental the vocals.

Networks want magnitudes divided by the largest of the whole song, so a song is read twice: a cheap pass for that peak and
one that separates. Only what the network estimates, the vocals, goes through the inverse transform and, where the song's
rate is not the networks', back through the resampler; the instrumental is the song minus the vocals, sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from frametx.audio.fifo import Fifo
from frametx.audio.resample import Resampler
from frametx.errors import AudioError
from frametx.reframing import common_framing
from frametx.song_samples import Samples, Song
from frametx.spectrum import SAMPLE_RATE, Framing, StreamingISTFT, StreamingSTFT, count_frames, magnitudes
from frametx.stream import FrameBuffer, Watch
from frametx.windows import WindowOptions, mask_source

if TYPE_CHECKING:
    from frametx.journal import Journal
    from frametx.masker import Masker

Progress = Callable[[str, float], None]
"""Called with the stage, `survey` or `separate`, and how much of it is done, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the first pass over a song found.

    Attributes:
        n_samples: Samples per channel at the song's own rate.
        n_model_samples: The same at the networks' rate.
        peaks: The largest magnitude of each STFT, over both channels, all bins and all frames.
    """

    n_samples: int
    n_model_samples: int
    peaks: Mapping[Framing, float]


@dataclass(frozen=True, slots=True)
class Stems:
    """A stretch of a song and what it was separated into, each float32 `[c n]`; instrumental + vocals = mix."""

    mix: Samples
    vocals: Samples

    @property
    def instrumental(self) -> Samples:
        """The mix without the vocals."""
        return self.mix - self.vocals


def survey_song(
    song: Song,
    framings: Collection[Framing],
    *,
    original: bool = False,
    on_block: Callable[[int], None] | None = None,
) -> Survey:
    """Read a song once, for its length and its largest magnitudes.

    Args:
        song: The song.
        framings: The models' STFTs.
        original: Leave out the frame that only exists because the song is extended to a multiple of the hop, as the
            original program did.
        on_block: Called with the number of samples read.
    """
    resampler = Resampler(song.sample_rate, SAMPLE_RATE, song.channels)
    stfts = {framing: StreamingSTFT(framing.n_fft, framing.hop) for framing in framings}
    n_samples = n_model_samples = 0
    peaks = dict.fromkeys(stfts, 0.0)
    for block in _with_last(song.blocks(), song.channels):
        n_samples += block.samples.shape[1]
        resampled = resampler.process(block.samples, last=block.last)
        n_model_samples += resampled.shape[1]
        for framing, stft in stfts.items():
            frames = stft.push(torch.from_numpy(resampled))
            if block.last:
                rest = stft.finish()
                if original and n_model_samples % framing.hop:
                    rest = rest[..., :-1]
                frames = torch.cat([frames, rest], dim=-1)
            if frames.numel():
                peaks[framing] = max(peaks[framing], float(magnitudes(frames).amax()))
        if on_block is not None:
            on_block(block.samples.shape[1])
    if n_samples == 0:
        raise AudioError("the song holds no samples")
    return Survey(n_samples=n_samples, n_model_samples=n_model_samples, peaks=peaks)


def separate_blocks(
    song: Song,
    survey: Survey,
    maskers: list[Masker],
    options: WindowOptions,
    *,
    progress: Progress | None = None,
    watch: Watch | None = None,
    journal: Journal | None = None,
) -> Iterator[Stems]:
    """Separate a song, stretch by stretch, in memory that does not grow with its length.

    Args:
        song: The song.
        survey: What `survey_song` found.
        maskers: The models; their STFTs have a common one, see `common_framing`.
        options: Windows and ensemble.
        progress: Told how much is done.
        watch: Shown the masks of all models side by side, where there are several; not called for a silent song.
        journal: Where masks are kept, and read back after an interruption.

    Yields:
        Stretches in order; together they are the whole song, to the sample.

    Raises:
        AudioError: The song changed between the two passes.
        ModelLimitError: A model cannot take windows of the width asked for.
    """
    if min(survey.peaks.values()) == 0.0:
        yield from (Stems(block, np.zeros_like(block)) for block in song.blocks())
        return
    waiting = Fifo()  # the song's samples whose vocals are to come: as many as the widest window covers, not more
    back = Resampler(SAMPLE_RATE, song.sample_rate, song.channels)  # there and back no sample is lost
    n_left = survey.n_samples
    for vocals in _vocals(song, survey, maskers, options, waiting, progress, watch, journal):
        samples = back.process(vocals.samples, last=vocals.last)[:, :n_left]
        n_left -= samples.shape[1]
        if samples.shape[1]:
            yield Stems(waiting.pull(samples.shape[1]), samples)


def _vocals(
    song: Song,
    survey: Survey,
    maskers: list[Masker],
    options: WindowOptions,
    waiting: Fifo,
    progress: Progress | None,
    watch: Watch | None,
    journal: Journal | None,
) -> Iterator[_Block]:
    """The estimated vocals at the networks' rate, `[c n]`, the song's own samples going to `waiting` on the way."""
    framing = common_framing({masker.network.framing for masker in maskers})
    device = maskers[0].device
    n_frames = count_frames(survey.n_model_samples, framing.hop)
    # the original program never saw the frame that stands for the extension to a multiple of the hop
    n_seen = survey.n_model_samples // framing.hop + 1 if options.grid else n_frames
    n_done, n_planned = 0, 0

    def on_chunk(n_owned: int) -> None:
        nonlocal n_done
        n_done += n_owned
        if progress is not None:
            progress("separate", min(1.0, n_done / n_planned))

    source, n_planned = mask_source(
        maskers,
        options,
        n_frames=n_frames,
        framing=framing,
        peaks=survey.peaks,
        on_chunk=on_chunk,
        watch=watch,
        journal=journal,
    )
    stft = StreamingSTFT(framing.n_fft, framing.hop, device)
    istft = StreamingISTFT(framing.n_fft, framing.hop, device)
    resampler = Resampler(song.sample_rate, SAMPLE_RATE, song.channels)
    buffer = FrameBuffer(n_seen)
    n_out = n_read = 0
    for block in _with_last(song.blocks(), song.channels):
        waiting.push(block.samples)
        n_read += block.samples.shape[1]
        if n_read > survey.n_samples or (block.last and n_read < survey.n_samples):
            raise AudioError("the song changed while it was being read", "separate it again")
        mix = _upload(resampler.process(block.samples, last=block.last), device)
        buffer.append(stft.push(mix.expand(2, -1)))
        if block.last:
            buffer.append(stft.finish())
        with torch.inference_mode():
            mask = source.advance(buffer)
        if mask.shape[-1] == 0:
            continue
        # piece by piece: what stays in the processor's caches costs a fraction of whole windows' time and memory
        n_before = n_out
        for spectrum in buffer.pieces(n_before, n_before + mask.shape[-1]):
            piece = mask[..., n_out - n_before :][..., : spectrum.shape[-1]]
            samples = istft.push(spectrum * _vocals_share(piece, original=options.original))
            n_out += spectrum.shape[-1]
            yield _Block(_as_channels(samples, song.channels).cpu().numpy(), last=False)
        buffer.drop_before(min(source.needs_from, n_out))
        if block.last:
            yield _Block(_as_channels(istft.finish(), song.channels).cpu().numpy(), last=True)


def _upload(samples: Samples, device: torch.device) -> Tensor:
    """Bring samples to the device; from pinned memory a GPU fetches them while it computes."""
    tensor = torch.from_numpy(samples)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _vocals_share(mask: Tensor, *, original: bool) -> Tensor:
    """What the instrumental's mask `[c f t]` leaves, with the highest bin, which no network sees: `[c f+1 t]`.

    It is treated like its neighbour; the original program gave it to the vocals.
    """
    n_channels, n_bins, n_frames = mask.shape
    share = mask.new_empty(n_channels, n_frames, n_bins + 1).transpose(1, 2)  # in memory like the spectrum
    torch.sub(1.0, mask, out=share[:, :-1])
    share[:, -1] = 1.0 if original else share[:, -2]
    return share


def _as_channels(samples: Tensor, channels: int) -> Tensor:
    """A mono song was shown to the network as two equal channels; its vocals are their mean."""
    return samples if channels == 2 else samples.mean(dim=0, keepdim=True)


@dataclass(frozen=True, slots=True)
class _Block:
    samples: Samples
    last: bool


def _with_last(blocks: Iterator[Samples], channels: int) -> Iterator[_Block]:
    """Mark the end by an empty last block."""
    for samples in blocks:
        yield _Block(samples, last=False)
    yield _Block(np.zeros((channels, 0), dtype=np.float32), last=True)
