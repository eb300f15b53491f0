"""Writing stems anew with splices in them, block by block; all samples outside the splices stay as they are."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from frametx.audio.pcm import quantise
from frametx.audio.reader import SongReader, probe
from frametx.audio.tags import read_tags
from frametx.audio.writer import StemWriter, WrittenStem
from frametx.errors import AudioError
from frametx.outputs import Stem
from frametx.overlap import Background, prefetch
from frametx.span_reader import SpanReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from frametx.splice import Span, Splice

_BLOCK_SIZE = 1 << 18


def stored_bits(path: Path) -> int | None:
    """Bits of a stem's integers; None for floats."""
    depth = probe(path).bit_depth
    return depth if isinstance(depth, int) else None


def read_stored(path: Path, span: Span, bits: int | None) -> NDArray[Any]:
    """A stretch `[c n]` of a stem as its file holds it: integers of `bits` bits, or floats."""
    with closing(SpanReader(path, span)) as reader:
        return _stored(reader.read(span), bits)


def rewrite_stems(
    sources: Mapping[Stem, Path],
    targets: Mapping[Stem, Path],
    splices: Sequence[Splice],
    *,
    n_samples: int,
    tags_from: Mapping[Stem, Path],
    on_done: Callable[[float], None] | None = None,
) -> dict[Stem, WrittenStem]:
    """Write new stems; complete when this returns, and not there when it fails.

    Args:
        sources: The stems to start from, of one length and format.
        targets: Where the new ones go; files there are replaced.
        splices: What is laid over them, in this order.
        n_samples: Their length.
        tags_from: Files whose tags the new stems get.
        on_done: Told how much is done, 0..1.

    Raises:
        AudioError: Reading or writing failed.
    """
    info = probe(sources[Stem.VOCALS])
    bits = stored_bits(sources[Stem.VOCALS])
    with ExitStack() as stack:
        writers = {
            stem: stack.enter_context(
                StemWriter(
                    target,
                    format=sources[stem].suffix[1:],
                    sample_rate=info.sample_rate,
                    channels=info.channels,
                    bit_depth="float" if bits is None else info.bit_depth or 24,
                    overwrite=True,
                    n_samples=n_samples,
                )
            )
            for stem, target in targets.items()
        }
        at = 0
        with ExitStack() as threads:
            # one thread an encoder: they are most of the work
            encoders = {stem: threads.enter_context(Background()) for stem in writers}
            for blocks in _together(sources):
                new = {stem: _stored(block, bits) for stem, block in blocks.items()}
                for splice in splices:
                    splice.lay_over(new[Stem.VOCALS], new[Stem.INSTRUMENTAL], at, bits)
                for stem, encoder in encoders.items():
                    encoder.call(writers[stem].write, new[stem])
                at += new[Stem.VOCALS].shape[1]
                if on_done is not None:
                    on_done(at / n_samples)
        if at != n_samples:
            raise AudioError(
                f"{sources[Stem.VOCALS]} has {at} samples; expected {n_samples}", "separate the song again"
            )
        return {stem: writer.finish(tags=read_tags(tags_from[stem])) for stem, writer in writers.items()}


def _stored(block: NDArray[np.float32], bits: int | None) -> NDArray[Any]:
    return block.copy() if bits is None else quantise(block, bits)


def _together(sources: Mapping[Stem, Path]) -> Iterator[dict[Stem, NDArray[np.float32]]]:
    """Blocks of both stems, side by side."""
    with ExitStack() as stack:
        readers = {stem: stack.enter_context(SongReader(path)) for stem, path in sources.items()}
        streams = [prefetch(reader.blocks(_BLOCK_SIZE)) for reader in readers.values()]
        for blocks in zip(*streams, strict=True):
            yield dict(zip(readers, blocks, strict=True))
