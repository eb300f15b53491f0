"""The original program's windows, written down plainly: pad, cut, run, keep the middle, concatenate."""

from __future__ import annotations

import numpy as np


def original_mask(spectrum, logits_of, crop, context, *, with_phase=False):
    """The mask of a whole song.

    Args:
        spectrum: Complex [c f t], the Nyquist bin included.
        logits_of: The network: features [b c f t] -> logits [b c f t], numpy.
        crop: Frames from one window to the next.
        context: Frames on either side of them.
        with_phase: Whether the network also reads phases scaled to 0..1.

    Returns:
        Mask [c f t] with a row of zeros for the Nyquist bin.
    """
    n_frames = spectrum.shape[-1]
    right = crop - n_frames % crop
    features = np.abs(spectrum) / np.abs(spectrum).max()
    if with_phase:
        features = np.concatenate([features, (np.angle(spectrum) + np.pi) / (2 * np.pi)])
    features = np.pad(features, ((0, 0), (0, 0), (context, right + context)))[:, :-1]
    masks = []
    for start in range(0, n_frames + right, crop):
        window = features[None, ..., start : start + crop + 2 * context]
        mask = 1 / (1 + np.exp(-logits_of(window)))
        masks.append(mask[0, ..., context : context + crop])
    mask = np.concatenate(masks, axis=-1)[..., :n_frames]
    return np.pad(mask, ((0, 0), (0, 1), (0, 0)))


def original_sequential_mask(spectrum, logits_of, crop):
    """The same for a network that reads its own last two windows: windows in order, zeros before the first."""
    n_frames = spectrum.shape[-1]
    right = crop - n_frames % crop
    magnitude = np.pad(np.abs(spectrum) / np.abs(spectrum).max(), ((0, 0), (0, 0), (0, right)))[:, :-1]
    zeros = np.zeros_like(magnitude[None, ..., :crop])
    x1, y1, x2, y2 = zeros, zeros, zeros, zeros
    masks = []
    for start in range(0, n_frames + right, crop):
        x = magnitude[None, ..., start : start + crop]
        mask = 1 / (1 + np.exp(-logits_of(np.concatenate([x, x1, y1, x2, y2], axis=1))))
        masks.append(mask[0])
        x1, y1, x2, y2 = x, x * mask, x1, y1
    return np.pad(np.concatenate(masks, axis=-1)[..., :n_frames], ((0, 0), (0, 1), (0, 0)))
