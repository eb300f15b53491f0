"""Load models once, separate many songs: the public API and what the command line calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from frametx import __version__
from frametx.allocator import keep_freed_memory
from frametx.audio.reader import SongReader
from frametx.audio.tags import Tags, read_tags
from frametx.audio.writer import WrittenStem
from frametx.device import dtype_name, is_out_of_memory, pick_device, pick_dtype
from frametx.errors import AudioError, DeviceError
from frametx.journal import Journal
from frametx.masker import Masker
from frametx.outputs import OutputOptions, Stem
from frametx.overlap import Background
from frametx.provenance import TAG, Recipe, file_sha256, recipe_for
from frametx.reframing import common_framing
from frametx.separate import Progress, Stems, Survey, separate_blocks, survey_song
from frametx.setup import Setup, prepare
from frametx.song_samples import ArraySong, RememberedSong, Samples, Song
from frametx.spectrum import SAMPLE_RATE
from frametx.stem_files import open_writers, stem_blocks, stem_targets, writing_notes
from frametx.stream import Watch
from frametx.windows import WindowOptions, plans

if TYPE_CHECKING:
    from frametx.models.network import Network
    from frametx.snapshots import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One separated song.

    Attributes:
        source: The song.
        stems: The files written, by `Stem` or its plain word: `stems["vocals"]`.
        seconds: Length of the song.
        elapsed_seconds: Time taken.
        notes: What a person should know: a downmix, clipped samples, a broken window.
        song_sha256: The digest of the song's file.
    """

    source: Path
    stems: Mapping[str, WrittenStem]
    seconds: float
    elapsed_seconds: float
    notes: tuple[str, ...]
    song_sha256: str


class Separator:
    """Separates songs with one model or an ensemble, loaded once.

    For one thread at a time; threads that separate at once need a separator each. On a CPU, memory that networks free stays
    with the process and is used again.

    Args:
        models: Names of snapshots, presets or paths of checkpoints, separated by commas, or a list of them; or a
            setup, which says everything else too.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or fp16.
        windows: Windows and ensemble; by default what suits the models.
        offline: Never fetch a snapshot.
        on_note: Told what happens meanwhile, such as a download.

    Attributes:
        setup: What it is made of, with nothing left to find out.
        models: The checkpoints, in the order of the ensemble.
        windows: Windows and ensemble, with what a preset says put in.
        device: Where the networks are.
        dtype: The number format of their convolutions and matrices.
        maskers: The networks, each ready to turn windows into masks.
        framings: Their STFTs.
        framing: The one that songs are taken apart with: the longest.

    Raises:
        FrametxError: A model, device or option that there is not.

    Example:
        >>> separator = frametx.Separator("mini")
        >>> separator.separate_file("song.flac", "separated")
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path] | Setup = "",
        *,
        device: str = "auto",
        precision: str = "auto",
        windows: WindowOptions | None = None,
        offline: bool = False,
        on_note: Callable[[str], None] | None = None,
    ) -> None:
        setup = (
            models
            if isinstance(models, Setup)
            else prepare(models, device=device, precision=precision, windows=windows, offline=offline, on_note=on_note)
        )
        self.setup = setup
        self.models, self.windows = setup.models, setup.windows
        self.device = pick_device(setup.device)
        self.dtype = pick_dtype(setup.precision, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.maskers = [self._masker(model) for model in self.models]
        self.framings = frozenset(masker.network.framing for masker in self.maskers)
        self.framing = common_framing(self.framings)
        for masker in self.maskers:  # windows that no song could be cut into are refused before any song is read
            plans(masker.name, masker.network, self.windows, 1)

    @property
    def precision(self) -> str:
        """The number format in use: fp32, bf16 or fp16."""
        return dtype_name(self.dtype)

    def separate_file(
        self,
        path: str | Path,
        output: str | Path | Mapping[Stem, Path] | Mapping[str, str | Path] = "separated",
        options: OutputOptions | None = None,
        *,
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
        progress: Progress | None = None,
        recipe: Recipe | None = None,
        watch: Watch | None = None,
        resumable: bool = True,
    ) -> Result:
        """Separate one file into stems.

        Args:
            path: The song.
            output: A folder, made if missing, for `<track>_Instrumental.<ext>` and `<track>_Vocals.<ext>`; or the
                path of each stem.
            options: How stems are written.
            start_seconds: Where to begin; the section is treated as a song of its own.
            end_seconds: Where to end; None: at the end.
            progress: Told the stage (`survey`, `separate`) and how much of it is done, 0..1.
            recipe: What these options stand for, if it is known already.
            watch: Shown the masks of all models side by side, where there are several; it doesn't see what an
                interrupted run has computed already.
            resumable: Keep the masks of a long song on disk, hidden beside the stems, until it is done; and go on
                where an interrupted run with the same parameters stopped.

        Returns:
            The files written, and what a person should know about them.

        Raises:
            AudioError: The song cannot be read, a stem is there already, or it cannot be written. No stem is left behind.
            UsageError: A stem or the format is unknown, the format cannot hold the bit depth, or a stem would replace
                the song itself.
            DeviceError: A window does not fit into the device's memory.
        """
        options = options or OutputOptions()
        path = Path(path)
        started = time.perf_counter()
        recipe = recipe or self.recipe(options, start_seconds=start_seconds, end_seconds=end_seconds)
        with ExitStack() as stack:
            song = stack.enter_context(SongReader(path, start_seconds=start_seconds, end_seconds=end_seconds))
            targets = stem_targets(path, output, options)
            writers = open_writers(stack, targets, song, options)
            bits = next(iter(writers.values())).bits
            n_samples = 0
            with ExitStack() as threads:
                # a thread an encoder: what a short song costs beside its network is mostly encoding
                encoders = {stem: threads.enter_context(Background()) for stem in writers}
                digest = next(iter(encoders.values())).call(file_sha256, path)
                journal = self._journal(targets, recipe, digest) if resumable else None
                for stems in self._stems(RememberedSong(song), progress, song.n_samples, watch, journal):
                    blocks = stem_blocks(stems, bits)
                    for stem, encoder in encoders.items():
                        encoder.call(writers[stem].write, blocks[stem])
                    n_samples += stems.mix.shape[1]
            sha256 = digest.result()
            tags = read_tags(path) if options.tags else Tags()
            written = {}
            for stem, writer in writers.items():
                title = stem.label if options.title_suffix else None
                written[stem] = writer.finish(tags=tags.for_stem(title, {TAG: recipe.tag(sha256)}))
        if journal is not None:
            journal.remove()
        notes = [*song.notes, *self.take_notes(), *writing_notes(written, options.format)]
        return Result(
            source=path,
            stems=dict(written.items()),  # as keys, types take a Stem for no str, which it is
            seconds=n_samples / song.sample_rate,
            elapsed_seconds=time.perf_counter() - started,
            notes=tuple(notes),
            song_sha256=sha256,
        )

    def recipe(self, options: OutputOptions, *, start_seconds: float = 0.0, end_seconds: float | None = None) -> Recipe:
        """Everything besides the song that decides what the stems hold."""
        return recipe_for(
            self.models,
            self.windows,
            self.setup.precision,
            options,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
        )

    def separate_array(
        self, mix: Samples, sample_rate: int = SAMPLE_RATE, *, progress: Progress | None = None
    ) -> dict[str, Samples]:
        """Separate samples in memory.

        Args:
            mix: Samples `[c n]` with one or two channels, or `[n]`, of any type that numpy makes float32 of. Their scale
                does not matter; integers stay as large as they are.
            sample_rate: Samples per second, whole.
            progress: Told the stage and how much of it is done, 0..1.

        Returns:
            The stems, by `Stem` or its plain word, float32, in the shape of `mix`; instrumental + vocals = mix.

        Raises:
            AudioError: No samples, more than two channels, values that are not finite, or a rate that is none.
            DeviceError: A window does not fit into the device's memory.
        """
        # torch takes no reversed arrays, and warns of those that may not be written to
        samples = np.atleast_2d(np.require(mix, np.float32, ["C_CONTIGUOUS", "WRITEABLE"]))
        if samples.ndim != 2 or samples.shape[0] > 2 or samples.shape[1] == 0:
            raise AudioError(
                f"an array of shape {np.shape(mix)} is no song", "give [channels, samples] with 1 or 2 channels"
            )
        if not np.isfinite(samples).all():
            raise AudioError("the array holds values that are not finite")
        if not sample_rate >= 1 or sample_rate % 1:
            raise AudioError(f"{sample_rate} is no sample rate", "give whole samples per second, such as 44100")
        stretches = list(
            self._stems(ArraySong(samples=samples, sample_rate=int(sample_rate)), progress, samples.shape[1])
        )
        vocals = np.concatenate([stems.vocals for stems in stretches], axis=1).reshape(np.shape(mix))
        instrumental = np.concatenate([stems.instrumental for stems in stretches], axis=1).reshape(np.shape(mix))
        return {Stem.INSTRUMENTAL: instrumental, Stem.VOCALS: vocals}

    def take_notes(self) -> list[str]:
        """What the models had to say since the last call, each once."""
        notes = [note for masker in self.maskers for note in masker.notes]
        for masker in self.maskers:
            masker.notes.clear()
        return notes

    def survey(self, song: Song, on_block: Callable[[int], None] | None = None) -> Survey:
        """The first pass over a song, as these models need it; see `survey_song`."""
        return survey_song(song, self.framings, original=self.windows.grid, on_block=on_block)

    def separate_blocks(
        self,
        song: Song,
        survey: Survey,
        *,
        progress: Progress | None = None,
        watch: Watch | None = None,
        journal: Journal | None = None,
    ) -> Iterator[Stems]:
        """The second pass, stretch by stretch; see `frametx.separate.separate_blocks`."""
        return separate_blocks(
            song, survey, self.maskers, self.windows, progress=progress, watch=watch, journal=journal
        )

    @property
    def networks(self) -> list[Network]:
        """The networks, in the order of the models.

        `network.compile()` on each, before the first song, has torch compile them: minutes for every new width of
        windows, and on a CPU nothing gained by it. It is for a GPU with many songs before it.
        """
        return [masker.network for masker in self.maskers]

    def _stems(
        self,
        song: Song,
        progress: Progress | None,
        n_samples: int | None,
        watch: Watch | None = None,
        journal: Journal | None = None,
    ) -> Iterator[Stems]:
        n_read = 0

        def on_block(n_new: int) -> None:
            nonlocal n_read
            n_read += n_new
            if progress is not None and n_samples:
                progress("survey", min(1.0, n_read / n_samples))

        survey = self.survey(song, on_block)
        if progress is not None:
            progress("separate", 0.0)
        return self.separate_blocks(song, survey, progress=progress, watch=watch, journal=journal)

    def _journal(self, targets: Mapping[Stem, Path], recipe: Recipe, digest: Future[str]) -> Journal:
        """Masks depend on the song's content, the recipe, and a little on what computes them and how many at once.

        Other versions may cut other windows by default, and masks of other windows would be taken for these.
        """

        def key() -> str:
            place = f"{self.device.type} {self.windows.batch_size}"
            return f"{__version__} {digest.result()} {recipe.masks_key} {place}"

        return Journal(next(iter(targets.values())), key)

    def _masker(self, model: Model) -> Masker:
        try:
            network = model.load().cast(self.dtype).to(self.device)  # so it never lies there in float32 first
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"model '{model.name}' does not fit into the memory of {self.device}",
                "use another model or --device cpu",
            ) from error
        exact = None if self.dtype == torch.float32 else lambda: model.load().cast(torch.float32)
        return Masker(name=model.name, network=network, device=self.device, exact=exact)


def separate_song(
    path: str | Path,
    output: str | Path = "separated",
    *,
    models: str | Path | Sequence[str | Path] = "",
    **options: Any,
) -> Result:
    """Separate one song; loads the models for it alone.

    Args:
        path: The song.
        output: A folder, made if missing.
        models: As for `Separator`, which is there to separate many.
        **options: The further arguments of `Separator`.

    Returns:
        The files written, and what a person should know about them.

    Raises:
        FrametxError: As `Separator` and `Separator.separate_file`.
    """
    return Separator(models, **options).separate_file(path, output)
