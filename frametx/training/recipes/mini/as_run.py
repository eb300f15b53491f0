# mypy: ignore-errors
"""The program that made the weights in the package, as it ran; a record, not maintained. `frametx train` grew from it.

    FROM=mini.safetensors END=HH:MM MUON=1 LR=1e-3 FRESH=0.75 EMA=0.999 BATCH=1 OUT=run \
        torchrun --nproc-per-node 2 as_run.py DATA

DATA holds what decode.py, resing.py, other_singers.py, neural_singers.py and backing.py wrote; re-sung voices were still
being made while it ran. The schedule follows the clock from the start to END. Only paths and imports differ from what ran.

It ran in sittings, each going on from the weights before:

    steps    0 to  359   without `spread` and narrowed instrumentals, 25 % true pairs, 42 % of the other voices from the CC0
                         songs, 10 % without vocals, 3 % vocals only
    steps  359 to  962   33 % true pairs, 14 % without vocals, 3 % vocals only; no choirs and no vocoded voices; without the
                         term of the error's energy in `loss_of`
    steps  962 to 1275   with that term, flat below -30 dB
    steps 1275 to 1450   with choirs and vocoded voices
    steps 1450 to 1700   as below, but with 9 % choirs and 5 % vocoded voices, and without middle and side in the input, whose
                         weights then began at zero; no mono songs; crops of 128 to 256 frames
    steps 1700 to 3087   with a new optimiser and schedule; 8 % without vocals, 2 % vocals only; without `harmony` and `chops`
    steps 3087 to 3951   with a new schedule and 11 % without vocals, 1.5 % vocals only
    steps 3951 to 4574   with 4.5 % harmonies and 3.5 % pieces of voices
    all up to step 4574  without `lead` and `again` (every mixture was new), with 0.15 x the term of the error's energy, and from
                         step 1450 on with 42 % true pairs and 45 % of the single voices from the CC0 songs
    steps 4574 to 5124   with `lead`, `again`, 0.25 x that term and 34 % true pairs
    steps 5124 to 6267   as below, with 46 more minutes of re-sung voices, two thirds of them made of speech, all in the folder
                         of the sung ones
    steps 6267 to 7793   with 123 more minutes of these, 74 of them made of the speech of hedgewars-data and unknown-horizons
                         alone, and a new schedule
    all up to step 7793  20 % of the music rendered, 25 % of it from the CC0 songs; 9 % of the mixtures without vocals, 1.5 %
                         vocals only
    steps 7793 to 9343   with 142 more minutes of re-sung voices, of 43 more speakers, 9 hours of music from ten more packages,
                         and a new schedule; 12 % of the music rendered; 10 % of the single voices spoken
    from step 9343       with 8 hours of music from 30 more packages, all speech also as it was spoken, and a new schedule
    all up to there      one process in float32 with batches of four and AdamW; 40 % of the mixtures new, and of 80 kept; choirs,
                         harmonies and the like drew from re-sung and CC0 voices alone
    the next sitting     two processes of one thread, bfloat16, Muon, all re-sung voices made anew, and with them the CC0 songs'
                         vocals as other singers (`songs`); its 1,766 steps, of eight windows (BATCH=4), are counted from 0 again,
                         EMA=0.998
    the one after it     from 0 again, four windows a step (BATCH=2), with 96 more minutes of re-sung voices, a third of them
                         held chords, and a new schedule; up to step 1050 half of the voices had a high pass and none a low
                         shelf, and speed varied by 3.5 semitones; after that as below
    the one after that   from 0 again, two windows a step (BATCH=1), from step 650 on with 70 more minutes of re-sung voices, all
                         low, and a new schedule
    all up to there      windows of 2048 samples, without what the network has for single bins, and with `scale` and `shift`
                         learned; three of five mixtures new, and later every second; voices moved as far up as down; Muon's
                         matrices all made orthogonal by every process, in float32
    the next             what stands below: from 0 again, from the weights of 20 minutes more as before, `widened`; two windows a
                         step, and a new schedule; up to step 968 still every second mixture new and voices moved as far up as
                         down
    the one after that   from 0 again, and a new schedule
    the one after that   from 0 again, and a new schedule; between steps 3450 and 4150 73 more minutes of re-sung voices came, of
                         seven languages of tuxpaint-stamps-default
    the one after that   from 0 again, and a new schedule; between steps 550 and 1050 135 more minutes of re-sung voices came, of
                         31 languages of klettres-data, ktuberling-data and asterisk-core-sounds, half of them with 30 % held chords;
                         the next began with the mean of its weights and those before it
    all up to there      without the pool `neural`, what it has shared by the others
    the one before last  from 0 again, and a new schedule; between steps 750 and 1075 60 minutes by neural_singers.py came, which
                         were drawn as below from step 1010 on
    all up to there      without `held` and `darkened`, 13 % choirs, 5 % vocoded voices, 9 % harmonies and 3 % pieces of voices;
                         90 % of the mixtures new
    the last sitting     from 0 again, from the mean of those weights and of a sitting for voices in the background (NOTES.md)
                         that was not shipped, and a new schedule; all voices made anew, and none of the music rendered
"""

import copy, math, os, sys, time
import numpy as np, soxr, torch
from torch.utils.data import DataLoader, IterableDataset
from frametx.models.mini import Mini
from pathlib import Path
import pedalboard as pb

SR = 44100
SET = Path(sys.argv[1])
HELD = (
    "ufoai-music__David03",
    "warzone2100-music__track24",
    "hyperrogue-music__hr3-caves",
    "nexuiz-music__brokenlight",
)


class Pool:
    def __init__(self, folder, rescan=False, keep=lambda p: True):
        self.folder, self.rescan, self.keep = folder, rescan, keep
        self.maps = []
        self.names = set()
        self.draws = 0
        self.scan()

    def scan(self):
        for p in sorted(self.folder.glob("*.npy")):
            if p.name in self.names or not self.keep(p):
                continue
            self.names.add(p.name)
            self.maps.append(np.load(p, mmap_mode="r"))
        self.len = np.array([len(m) for m in self.maps], float)
        # sqrt: long pieces more often, but not in proportion
        if len(self.len):
            self.p = np.sqrt(self.len) / np.sqrt(self.len).sum()

    def crop(self, rng, n, ratio=1.0, active=False):
        self.draws += 1
        if self.rescan and self.draws % 300 == 0:
            self.scan()
        m = int(np.ceil(n * ratio)) + 8
        for attempt in range(6):
            a = self.maps[rng.choice(len(self.maps), p=self.p)]
            if len(a) <= m:
                continue
            s = int(rng.integers(0, len(a) - m))
            x = a[s : s + m]
            if active and np.abs(x[::64].astype(np.float32)).mean() < 150:
                continue
            return resample(x, ratio, n)
        return resample(a[:m], ratio, n)


def resample(x, ratio, n):
    x = x.astype(np.float32) / 32768
    if x.shape[1] == 1:
        x = x.repeat(2, 1)
    if ratio != 1.0:
        x = soxr.resample(x, SR * ratio, SR, quality="LQ")
    if len(x) < n:
        x = np.pad(x, ((0, n - len(x)), (0, 0)))
    return np.ascontiguousarray(x[:n].T)


def rms(x):
    return float(np.sqrt(np.mean(x**2) + 1e-12))


def active_rms(x):
    f = np.sqrt((x[:, : x.shape[1] // 4410 * 4410].reshape(2, -1, 4410) ** 2).mean((0, 2)) + 1e-14)
    g = f[f > f.max() * 0.1]
    return float(np.sqrt((g**2).mean()))


def ratio_of(rng, p=0.5, spread=3.0):
    return float(2 ** (rng.uniform(-spread, spread) / 12)) if rng.random() < p else 1.0


def voice_ratio(rng):
    """Voices are rather sung lower than higher: most recordings are of high ones."""
    return float(2 ** (rng.uniform(-8, 4) / 12)) if rng.random() < 0.75 else 1.0


def stereo(x, rng):
    if rng.random() < 0.5:
        x = x[::-1]
    if rng.random() < 0.5:
        x = -x
    if rng.random() < 0.35:
        w = rng.uniform(0.2, 1.5)
        mid = (x[0] + x[1]) / 2
        side = (x[0] - x[1]) / 2 * w
        x = np.stack([mid + side, mid - side])
    return np.ascontiguousarray(x)


def tone(x, rng, amount):
    b = []
    if rng.random() < 0.6:
        b.append(pb.LowShelfFilter(float(rng.uniform(80, 500)), float(rng.uniform(-amount, amount))))
    if rng.random() < 0.6:
        b.append(pb.HighShelfFilter(float(rng.uniform(2000, 9000)), float(rng.uniform(-amount, amount))))
    if rng.random() < 0.4:
        b.append(
            pb.PeakFilter(
                float(np.exp(rng.uniform(np.log(200), np.log(6000)))),
                float(rng.uniform(-amount, amount)),
                float(rng.uniform(0.5, 2)),
            )
        )
    return pb.Pedalboard(b)(x, SR) if b else x


def spread(x, rng):
    """Make a voice wide: panned, doubled, decorrelated, or almost all side."""
    u = rng.random()
    n = x.shape[1]
    if u < 0.2:
        pan = rng.uniform(0, 1)
        x = x * np.array([[np.cos(pan * np.pi / 2)], [np.sin(pan * np.pi / 2)]], np.float32) * 1.4
    elif u < 0.5:
        r = float(1 + rng.uniform(0.001, 0.008) * rng.choice([-1, 1]))
        d = int(rng.uniform(0.003, 0.035) * SR)
        y = soxr.resample(x[1], SR * r, SR, quality="QQ").astype(np.float32)
        y = np.pad(y, (d, max(0, n - d - len(y))))[:n]
        k = rng.uniform(0, 0.4)
        x = np.stack([x[0] + k * y, y + k * x[0]])
    elif u < 0.8:
        m = int(rng.uniform(0.004, 0.05) * SR)
        h = rng.standard_normal((2, m)).astype(np.float32) * np.exp(-np.arange(m) / (m * rng.uniform(0.1, 0.5))).astype(
            np.float32
        )
        h /= np.sqrt((h**2).sum(1, keepdims=True))
        h *= rng.uniform(0.3, 2.0)
        h[:, 0] += 1
        z = -(-(n + m) // 4096) * 4096  # a length without large primes
        x = np.fft.irfft(np.fft.rfft(x, z) * np.fft.rfft(h, z), z)[:, :n].astype(np.float32)
    else:
        mid = (x[0] + x[1]) / 2
        side = (x[0] - x[1]) / 2
        if (side**2).mean() < 1e-3 * (mid**2).mean():
            side = np.roll(mid, int(rng.uniform(0.005, 0.03) * SR)) * np.float32(rng.uniform(0.3, 1.2))
        else:
            side = side * np.float32(rng.uniform(1.0, 3.0))
        x = np.stack([mid + side, mid - side])
    return np.ascontiguousarray(x)


def vocoded(x, rng):
    """A synthesiser's chord with the voice's envelope."""
    import torch, torch.nn.functional as F

    n = x.shape[1]
    t = np.arange(n) / SR
    root = rng.uniform(70, 220)
    c = np.zeros(n)
    for k in ([0, 4, 7, 12], [0, 3, 7, 12], [0, 7, 12], [0], [0, 12])[int(rng.integers(5))]:
        c += 2 * np.mod(t * root * 2 ** (k / 12) * (1 + rng.uniform(-0.003, 0.003)) + rng.random(), 1) - 1
    c = torch.from_numpy((c + rng.standard_normal(n) * 0.1).astype(np.float32))
    w = torch.hann_window(1024)
    V = torch.stft(torch.from_numpy(np.ascontiguousarray(x.mean(0))), 1024, 256, window=w, return_complex=True)
    C = torch.stft(c, 1024, 256, window=w, return_complex=True)
    m = int(rng.integers(4, 14))
    pool = lambda a: F.avg_pool1d(a.T[:, None], 2 * m + 1, 1, m)[:, 0].T
    y = torch.istft(C * (pool(V.abs()) / (pool(C.abs()) + 1e-3)), 1024, 256, window=w, length=n).numpy()
    k = rng.uniform(0, 0.5)
    return np.ascontiguousarray(np.stack([y, y]) + k * x, dtype=np.float32)


def read_at(x, pos):
    i = np.clip(pos.astype(np.int64), 0, x.shape[1] - 2)
    f = (pos - i).astype(np.float32)
    return x[:, i] * (1 - f) + x[:, i + 1] * f


def shifted(x, ratio, rng, N=2048, h=1024):
    """Pitch moved by grains, length kept."""
    n = x.shape[1]
    k = np.arange(0, n, h)
    w = np.hanning(N).astype(np.float32)
    pos = k[:, None] + (np.arange(N) - N / 2) * ratio + N / 2 * ratio / 2
    g = read_at(x, np.clip(pos, 0, n - 2)) * w
    y = np.zeros((2, len(k) * h + N), np.float32)
    for o in range(N // h):
        y[:, o * h : o * h + len(k) * h] += g[:, :, o * h : (o + 1) * h].reshape(2, -1)
    return y[:, N // 4 : N // 4 + n] if y.shape[1] >= N // 4 + n else np.pad(y[:, N // 4 :], ((0, 0), (0, n)))[:, :n]


def harmony(x, rng):
    """One phrase sung in parallel by two to four, wide."""
    n = x.shape[1]
    y = x * np.float32(rng.uniform(0.2, 1.0))
    for s in rng.choice([-12, -9, -8, -5, -4, -3, 3, 4, 5, 7, 8, 9, 12], int(rng.integers(1, 4)), replace=False):
        z = shifted(x, 2 ** ((s + rng.uniform(-0.15, 0.15)) / 12), rng)
        d = int(rng.uniform(0, 0.03) * SR)
        pan = rng.uniform(-1, 1)
        g = np.array([[np.sqrt((1 - pan) / 2)], [np.sqrt((1 + pan) / 2)]], np.float32) * 1.4
        y = y + np.pad(z, ((0, 0), (d, 0)))[:, :n] * g * np.float32(rng.uniform(0.4, 1.0))
    return np.ascontiguousarray(y, dtype=np.float32)


def chops(x, rng):
    """Short pieces of a voice played as an instrument: on a grid, at changing pitch, some sliding."""
    n = x.shape[1]
    T = rng.uniform(0.11, 0.5) * SR
    y = np.zeros((2, n + SR), np.float32)
    starts = rng.integers(0, max(1, n - SR), int(rng.integers(1, 4)))
    pattern = rng.random(8) < rng.uniform(0.3, 0.8)
    pattern[rng.integers(8)] = True
    scale = np.array([0, 0, 0, 2, 3, 5, 7, 12, -5, -12])
    slide = rng.uniform(-0.6, 0.6) if rng.random() < 0.4 else 0.0
    length = rng.uniform(0.08, 0.5)
    for k in range(int(n / T)):
        if not pattern[k % 8]:
            continue
        m = int(length * SR * rng.choice([0.5, 1.0, 1.0, 1.5]))
        r = 2 ** (scale[rng.integers(len(scale))] / 12)
        t = np.arange(m)
        z = read_at(x, starts[rng.integers(len(starts))] + t * r * (1 + slide * t / m))
        e = np.minimum(1, np.minimum(t / (0.004 * SR), (m - t) / (0.02 * SR))).astype(np.float32)
        a = int(k * T)
        b = min(a + m, y.shape[1])
        y[:, a:b] += (z * e)[:, : b - a]
    y = np.ascontiguousarray(y[:, :n])
    return y if active_rms(y) > 0.005 else x


def held(x, rng, N=8192, h=4096):
    """Grains of a voice that hardly moves on: chords of several, held, whose root walks."""
    n = x.shape[1]
    loud = np.sqrt((x[:, : n // h * h].reshape(2, -1, h) ** 2).mean((0, 2)))
    k = np.arange(n // h + N // h + 1)
    scale = ((0, 2, 4, 5, 7, 9, 11, 12), (0, 2, 3, 5, 7, 8, 10, 12))[int(rng.integers(2))]
    lasts = int(rng.uniform(0.5, 4) * SR / h)
    roots = rng.choice([0, -2, 2, -5, 5, -3, 3, 7], len(k) // lasts + 2)
    root = roots[(k + int(rng.integers(lasts))) // lasts]
    w = np.hanning(N).astype(np.float32)
    y = np.zeros((2, (len(k) + N // h) * h), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        s = scale[int(rng.integers(len(scale)))] - 12 * int(rng.random() < 0.25)
        at = int(rng.choice(len(loud), p=loud / loud.sum())) * h if loud.sum() > 0 else 0
        pos = at + k * h * rng.uniform(0.0, 0.35) + rng.normal(0, rng.uniform(100, 1500), len(k))
        pos = np.abs((pos + n) % (2 * n) - n)  # back and forth
        r = 2 ** ((s + root + rng.normal(0, 0.08)) / 12 + rng.normal(0, 0.002, len(k)))
        g = read_at(x, np.clip(pos[:, None] + (np.arange(N) - N / 2) * r[:, None], 0, n - 2)) * w
        z = np.zeros_like(y)
        for o in range(N // h):
            z[:, o * h : o * h + len(k) * h] += g[:, :, o * h : (o + 1) * h].reshape(2, -1)
        pan = rng.uniform(-1, 1)
        gain = np.array([[np.sqrt((1 - pan) / 2)], [np.sqrt((1 + pan) / 2)]], np.float32) * np.float32(
            rng.uniform(0.4, 1)
        )
        y += spread(z, rng)[:, : y.shape[1]] if rng.random() < 0.5 else z * gain * 1.4
    y = np.ascontiguousarray(y[:, N // 2 : N // 2 + n])
    if rng.random() < 0.5:  # with rests
        m = int(rng.uniform(0.8, 4) * SR)
        gate = np.repeat(rng.random(n // m + 2) < rng.uniform(0.4, 0.9), m)[int(rng.integers(m)) :][:n]
        gate[: n // 2] |= not gate.any()
        y = y * smooth(gate.astype(np.float32), int(np.exp(rng.uniform(np.log(0.003), np.log(0.5))) * SR)).astype(
            np.float32
        )
    return np.ascontiguousarray(y[:, ::-1]) if rng.random() < 0.2 else y


def darkened(x, rng):
    """As voices in the background are: without air, without chest, and far away."""
    b = [
        pb.LadderFilter(
            pb.LadderFilter.Mode.LPF24 if rng.random() < 0.5 else pb.LadderFilter.Mode.LPF12,
            cutoff_hz=float(np.exp(rng.uniform(np.log(900), np.log(6000)))),
            resonance=0.0,
        )
    ]
    if rng.random() < 0.6:
        b.append(pb.HighpassFilter(float(rng.uniform(120, 450))))
    if rng.random() < 0.6:
        b.append(
            pb.Reverb(
                float(rng.uniform(0.4, 0.95)),
                float(rng.uniform(0.2, 0.8)),
                float(rng.uniform(0.2, 0.8)),
                float(rng.uniform(0.1, 0.8)),
                float(rng.uniform(0.6, 1.0)),
            )
        )
    return pb.Pedalboard(b)(x, SR)


def sing_effects(x, rng, wet, dark=0.06):
    x = x * (0.1 / max(1e-5, active_rms(x)))
    b = []
    if rng.random() < 0.35:  # fundamentals that carry most of the voice
        b.append(
            pb.LowShelfFilter(
                float(np.exp(rng.uniform(np.log(180), np.log(700)))),
                float(rng.uniform(3, 15)),
                float(rng.uniform(0.5, 0.9)),
            )
        )
    elif rng.random() < 0.6:
        b.append(pb.HighpassFilter(float(rng.uniform(60, 200))))
    if rng.random() < 0.4:
        b.append(
            pb.Compressor(
                float(rng.uniform(-30, -15)),
                float(rng.uniform(2, 6)),
                float(rng.uniform(2, 20)),
                float(rng.uniform(60, 300)),
            )
        )
    if rng.random() < 0.07:
        b.append(pb.Distortion(float(rng.uniform(5, 20))))
    if rng.random() < 0.12:
        b.append(
            pb.Chorus(
                float(rng.uniform(0.4, 1.5)),
                float(rng.uniform(0.1, 0.4)),
                float(rng.uniform(5, 12)),
                0.0,
                float(rng.uniform(0.2, 0.5)),
            )
        )
    if rng.random() < 0.2 * wet:
        b.append(pb.Delay(float(rng.uniform(0.08, 0.5)), float(rng.uniform(0, 0.5)), float(rng.uniform(0.08, 0.35))))
    if rng.random() < 0.85 * wet:
        b.append(
            pb.Reverb(
                float(rng.uniform(0.1, 0.85)),
                float(rng.uniform(0.2, 0.8)),
                float(rng.uniform(0.05, 0.4)),
                float(rng.uniform(0.5, 1.0)),
                float(rng.uniform(0.4, 1.0)),
            )
        )
    if wet != 0.25 and rng.random() < 0.4:
        x = spread(x, rng)
    y = pb.Pedalboard(b)(x, SR) if b else x
    if rng.random() < dark:
        y = darkened(y, rng)
    return tone(y, rng, 5.0)


def lead(n, rng):
    """A synthesiser's melody, as voices are sung: gliding, with vibrato, filtered."""
    T = rng.uniform(0.12, 0.6) * SR
    k = int(n / T) + 2
    scale = (
        np.array([0, 2, 3, 5, 7, 8, 10, 12, 14, 15])
        if rng.random() < 0.5
        else np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    )
    root = rng.uniform(110, 440)
    i = np.cumsum(rng.integers(-2, 3, k)) % len(scale)
    held = rng.random(k) < 0.3
    rest = rng.random(k) < rng.uniform(0, 0.35)
    for j in range(1, k):
        if held[j]:
            i[j] = i[j - 1]
            rest[j] = rest[j - 1]
    at = np.minimum((np.arange(n) / T).astype(np.int64), k - 1)
    note = scale[i][at].astype(np.float64)
    m = int(rng.uniform(0.003, 0.12) * SR)
    note = smooth(note, m)
    t = np.arange(n) / SR
    note = note + rng.uniform(0, 0.5) * np.sin(2 * np.pi * rng.uniform(4, 7) * t + rng.random() * 6) * (
        rng.random() < 0.6
    )
    ph = np.cumsum(root * 2 ** (note / 12)) / SR
    y = 0
    kind = rng.integers(4)
    for d in rng.uniform(-0.006, 0.006, int(rng.integers(1, 4))):
        q = np.mod(ph * (1 + d) + rng.random(), 1)
        y = y + (
            2 * q - 1
            if kind == 0
            else np.where(q < rng.uniform(0.15, 0.5), 1.0, -1.0)
            if kind == 1
            else 4 * np.abs(q - 0.5) - 1
            if kind == 2
            else np.sin(2 * np.pi * q + rng.uniform(0.5, 3) * np.sin(2 * np.pi * q * rng.integers(1, 4)))
        )
    gate = smooth((~rest)[at].astype(np.float64), int(rng.uniform(0.004, 0.06) * SR))
    y = (y * gate).astype(np.float32)
    b = [
        pb.LadderFilter(
            pb.LadderFilter.Mode.LPF24 if rng.random() < 0.5 else pb.LadderFilter.Mode.BPF12,
            cutoff_hz=float(np.exp(rng.uniform(np.log(700), np.log(9000)))),
            resonance=float(rng.uniform(0, 0.7)),
        )
    ]
    if rng.random() < 0.4:
        b.append(
            pb.Chorus(float(rng.uniform(0.4, 1.5)), float(rng.uniform(0.1, 0.4)), float(rng.uniform(5, 12)), 0.0, 0.5)
        )
    if rng.random() < 0.5:
        b.append(pb.Delay(float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.1, 0.5)), float(rng.uniform(0.1, 0.35))))
    if rng.random() < 0.8:
        b.append(
            pb.Reverb(
                float(rng.uniform(0.1, 0.85)),
                float(rng.uniform(0.2, 0.8)),
                float(rng.uniform(0.05, 0.4)),
                float(rng.uniform(0.5, 1.0)),
                float(rng.uniform(0.4, 1.0)),
            )
        )
    x = pb.Pedalboard(b)(np.stack([y, y]), SR)
    return spread(x, rng) if rng.random() < 0.4 else x


def smooth(x, m):
    c = np.cumsum(np.concatenate([np.full(m, x[0]), x]))
    return (c[m:] - c[:-m]) / m


class Mixer:
    def __init__(self):
        held = lambda p: not p.stem.startswith(HELD)
        self.kept = []
        self.inst = Pool(SET / "instrumentals", keep=held)
        self.gm = Pool(SET / "backing", rescan=True) if (SET / "backing").exists() else None
        self.acc = [np.load(p, mmap_mode="r") for p in sorted((SET / "pairs").glob("*_accompaniment.npy"))]
        self.voc = [np.load(p, mmap_mode="r") for p in sorted((SET / "pairs").glob("*_vocals.npy"))]
        assert len(self.acc) == len(self.voc) == 5
        self.cc0acc = Pool(SET / "pairs", keep=lambda p: "accomp" in p.name)
        self.cc0voc = Pool(SET / "pairs", keep=lambda p: "vocals" in p.name)
        self.sung = Pool(SET / "resung/sung", rescan=True)
        self.spoken = Pool(SET / "resung/spoken", rescan=True)
        self.songs = Pool(SET / "resung/songs", rescan=True)
        self.neural = Pool(SET / "resung/neural", rescan=True)
        self.speech = Pool(SET / "speech")

    def gm_pool(self):
        if self.gm is None and (SET / "backing").exists() and len(list((SET / "backing").glob("*.npy"))) > 5:
            self.gm = Pool(SET / "backing", rescan=True)
        return self.gm

    def any_sung(self, rng):
        pools = (self.cc0voc, self.songs, self.sung, self.spoken, self.neural)
        return pools[int(rng.choice(5, p=[0.2, 0.14, 0.13, 0.3, 0.23]))]

    def choir(self, rng, n):
        """Several voices at once, unrelated but for their key's luck, in a large room."""
        x = 0
        for _ in range(int(rng.integers(3, 6))):
            pool = self.any_sung(rng)
            v = pool.crop(rng, n, voice_ratio(rng), active=True)
            v = v * (0.1 / max(1e-4, active_rms(v))) * rng.uniform(0.4, 1)
            x = x + spread(stereo(v, rng), rng)
        return sing_effects(np.ascontiguousarray(x, dtype=np.float32), rng, 1.2, 0.45)

    def vocals(self, rng, n):
        u = rng.random()
        if u < 0.10:
            return self.choir(rng, n)
        if u < 0.14:
            return sing_effects(
                vocoded(self.any_sung(rng).crop(rng, n, 1.0, active=True), rng),
                rng,
                1.0,
            )
        if u < 0.25:
            v = stereo(self.any_sung(rng).crop(rng, n, voice_ratio(rng), active=True), rng)
            return sing_effects(harmony(v, rng) if u < 0.20 else chops(v, rng), rng, 1.0, 0.4)
        if u < 0.33:
            v = stereo(self.any_sung(rng).crop(rng, n, voice_ratio(rng), active=True), rng)
            return sing_effects(held(v, rng), rng, 1.0, 0.6)
        u = rng.random()
        if u < 0.2:
            return sing_effects(stereo(self.cc0voc.crop(rng, n, voice_ratio(rng), active=True), rng), rng, 0.3)
        if u < 0.94:
            pool = self.songs if u < 0.34 else self.sung if u < 0.46 else self.neural if u < 0.68 else self.spoken
            return sing_effects(
                stereo(pool.crop(rng, n, voice_ratio(rng), active=True), rng),
                rng,
                1.0 if rng.random() < 0.7 else 0.25,
            )
        return sing_effects(stereo(self.speech.crop(rng, n, voice_ratio(rng), active=True), rng), rng, 1.0)

    def music(self, rng, n):
        u = rng.random()
        gm = self.gm_pool()
        if not gm:
            u = 0.1 + 0.9 * u
        if gm and u < 0.1:
            pool = gm
        elif u < 0.32:
            pool = self.cc0acc
        else:
            pool = self.inst
        x = stereo(pool.crop(rng, n, ratio_of(rng, 0.5, 4)), rng)
        if rng.random() < 0.1:
            y = lead(n, rng)
            x = x + y * np.float32(active_rms(x) / max(active_rms(y), 1e-4) * 10 ** (rng.uniform(-12, 0) / 20))
        if rng.random() < 0.15:
            x = x + (x.mean(0, keepdims=True) - x) * np.float32(rng.uniform(0.6, 1))
        return tone(x, rng, 4.0)

    def pair(self, rng, n):
        r = ratio_of(rng, 0.6, 4)
        m = int(np.ceil(n * r)) + 8
        for _ in range(6):
            i = int(rng.integers(5))
            a, v = self.acc[i], self.voc[i]
            s = int(rng.integers(0, min(len(a), len(v)) - m))
            if np.abs(v[s : s + m : 64].astype(np.float32)).mean() > 150:
                break
        A, V = resample(a[s : s + m], r, n), resample(v[s : s + m], r, n)
        if rng.random() < 0.5:
            A, V = A[::-1].copy(), V[::-1].copy()
        ra, rv = active_rms(A), active_rms(V)
        if rng.random() < 0.5:
            A = tone(A, rng, 4.0)
        if rng.random() < 0.5:
            V = sing_effects(V, rng, 0.25)
        return A, V

    def stems(self, rng, n):
        if rng.random() < 0.27:
            A, V = self.pair(rng, n)
        else:
            A = self.music(rng, n)
            V = self.vocals(rng, n)
            if rng.random() < 0.1:
                V = V + float(rng.uniform(0.2, 0.8)) * self.vocals(rng, n)
        return A, V

    def again(self, rng, n):
        """Two of five new; else stems drawn before, half of them with another partner."""
        if len(self.kept) < 24 or rng.random() < FRESH:
            A, V = self.stems(rng, n)
            self.kept.append((A, V))
            del self.kept[:-160]
            return self.mixed(A, V, rng)
        i = int(rng.integers(len(self.kept)))
        j = i if rng.random() < 0.5 else int(rng.integers(len(self.kept)))
        A, V = self.kept[i][0], self.kept[j][1]
        if i != j:
            k = int(rng.integers(n))
            V = np.roll(V, k, 1)
            if rng.random() < 0.5:
                V = V[::-1]
            if rng.random() < 0.5:
                V = -V
        elif rng.random() < 0.5:
            A, V = A[::-1], V[::-1]
        return self.mixed(A, V, rng)

    def draw(self, rng, n):
        return self.mixed(*self.stems(rng, n), rng)

    def mixed(self, A, V, rng):
        ra, rv = active_rms(A), active_rms(V)
        A = A * (0.1 / max(ra, 1e-4))
        u = rng.random()
        level = float(np.clip(rng.normal(-4.0, 4.0), -14, 8))
        V = V * (0.1 / max(rv, 1e-4)) * 10 ** (level / 20)
        if u < 0.13:
            V = V * 0
        elif u < 0.145:
            A = A * 0
        if rng.random() < 0.05:
            A, V = (np.repeat(x.mean(0, keepdims=True), 2, 0) for x in (A, V))  # mono
        g = 0.5 / max(1e-3, np.abs(A + V).max())
        return np.stack([A * g, V * g]).astype(np.float32)


HOP, NFFT, SR = 1024, 4096, 44100


class Stream(IterableDataset):
    def __init__(self, batch, frames, seed):
        self.batch, self.frames, self.seed = batch, frames, seed

    def __iter__(self):
        os.nice(2)
        torch.set_num_threads(1)
        m = Mixer()
        rng = np.random.default_rng(self.seed)
        while True:
            yield torch.from_numpy(np.stack([m.again(rng, (self.frames + 3) * HOP) for _ in range(self.batch)]))


window = torch.hann_window(NFFT)


def spec(x):  # [..., n] -> [..., f t]
    s = torch.stft(x.flatten(0, -2), NFFT, HOP, window=window, center=False, return_complex=True)[:, : NFFT // 2]
    return s.unflatten(0, x.shape[:-1])


def prepared(S, u):
    """From real views of the stems' spectra: what the network and the loss need."""
    A, V = S[:, 0], S[:, 1]
    X = A + V
    mag = (X[..., 0] ** 2 + X[..., 1] ** 2).sqrt()
    peak = mag.amax((1, 2, 3), keepdim=True) * 10 ** (u * 12 / 20) + 1e-6
    power = X[..., 0] ** 2 + X[..., 1] ** 2 + 1e-18
    # the instrumental, turned by the mixture's phase
    cos = (A[..., 0] * X[..., 0] + A[..., 1] * X[..., 1]) / power.sqrt() / peak
    sin = (A[..., 1] * X[..., 0] - A[..., 0] * X[..., 1]) / power.sqrt() / peak
    a5 = ((A[..., 0] ** 2 + A[..., 1] ** 2).sqrt() / peak + 1e-7).sqrt()
    v5 = ((V[..., 0] ** 2 + V[..., 1] ** 2).sqrt() / peak + 1e-7).sqrt()
    mid, side = X[:, 0] + X[:, 1], X[:, 0] - X[:, 1]
    ms = (
        torch.stack([(mid[..., 0] ** 2 + mid[..., 1] ** 2).sqrt(), (side[..., 0] ** 2 + side[..., 1] ** 2).sqrt()], 1)
        / 2
        / peak
    )
    mag = mag / peak
    return torch.cat([mag, ms], 1), cos, sin**2, a5, v5


def compared(L, mag, re, im2, a5, v5):
    nc = mag.mean((1, 2, 3), keepdim=True) + 1e-6
    n5 = (mag + 1e-7).sqrt().mean((1, 2, 3), keepdim=True)
    Y = L.float().sigmoid() * mag
    e2 = (Y - re) ** 2 + im2
    lc = (((e2 + 1e-12).sqrt()) / nc).mean()
    # log of the error's energy: what SDR measures; flattens 20 dB below the mixture
    lc = lc + 0.25 * torch.log(e2.sum((1, 2, 3)) / ((mag**2).sum((1, 2, 3)) + 1e-9) + 1e-2).mean()
    ls = (((Y + 1e-7).sqrt() - a5).abs() / n5).mean() + (
        (((mag - Y).clamp(min=0) + 1e-7).sqrt() - v5).abs() / n5
    ).mean()
    return lc, ls


if os.environ.get("COMPILE", "1") == "1":
    prepared, compared = torch.compile(prepared, dynamic=False), torch.compile(compared, dynamic=False)


def loss_of(net, stems):
    with torch.no_grad():
        x, re, im2, a5, v5 = prepared(torch.view_as_real(spec(stems)), torch.rand(len(stems), 1, 1, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        L = net(x)
    return compared(L, x[:, :2], re, im2, a5, v5)


def separate(net, x):
    S = torch.stft(x, NFFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    mag = S.abs()
    ms = torch.stack([(S[0] + S[1]).abs(), (S[0] - S[1]).abs()]) / 2
    M = net((torch.cat([mag, ms]) / mag.max())[None, :, : NFFT // 2]).sigmoid()[0]
    M = torch.cat([M, torch.zeros(2, 1, M.shape[-1])], 1)
    return torch.istft(M * S, NFFT, HOP, window=window, center=True, length=x.shape[-1])


def valset():
    out = []
    n = 10 * SR // HOP * HOP
    for s in ("4.Potassium", "6.Caesium"):
        a = np.load(SET / f"valid/{s}_accompaniment.npy", mmap_mode="r")
        v = np.load(SET / f"valid/{s}_vocals.npy", mmap_mode="r")
        k = min(len(a), len(v)) // n
        e = [np.abs(v[i * n : (i + 1) * n : 32].astype(np.float32)).mean() for i in range(k)]
        good = [i for i in range(k) if e[i] > 0.5 * np.median(sorted(e)[-k // 2 :])]
        pick = [good[int(j)] for j in np.linspace(0, len(good) - 1, 6)]
        for i in sorted(set(pick)):
            A = torch.tensor(a[i * n : (i + 1) * n].T / 32768.0, dtype=torch.float32)
            V = torch.tensor(v[i * n : (i + 1) * n].T / 32768.0, dtype=torch.float32)
            V = V * (A.norm() / V.norm() * 10 ** (-5 / 20))
            out.append((s, A, V))
    for h in HELD:
        for p in (SET / "instrumentals").glob(h + "*.npy"):
            a = np.load(p, mmap_mode="r")
            i = len(a) // 2
            out.append(("inst", torch.tensor(a[i : i + n].T / 32768.0, dtype=torch.float32), None))
    return out


db = lambda a, b: float(10 * torch.log10(((a**2).sum() + 1e-9) / ((b**2).sum() + 1e-9)))


def validate(net, vs):
    r = {}
    net.eval()
    with torch.inference_mode():
        for s, A, V in vs:
            X = A if V is None else A + V
            E = separate(net, X)
            if V is None:
                r.setdefault("removed", []).append(db(X - E, X))
            else:
                r.setdefault(s, []).append(db(V, E - A))  # accompaniment gain; vocals gain is 5 dB more
    net.train()
    o = {k: float(np.mean(v)) for k, v in r.items()}
    o["worst_removed"] = max(r["removed"])
    o["gain"] = (o["4.Potassium"] + o["6.Caesium"]) / 2
    return o


FRESH = float(os.environ.get("FRESH", "0.33"))


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal; steps as large as AdamW's."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        """Every process makes the matrices orthogonal whose turn is its own, and all share what they made."""
        shared = torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)
        for g in self.param_groups:
            cost = lambda p: p.numel() * min(p.flatten(1).shape if p.ndim == 4 else p.shape[-2:])
            ordered = sorted(g["params"], key=cost, reverse=True)
            flat = torch.zeros(sum(p.numel() for p in ordered))
            parts = flat.split([p.numel() for p in ordered])
            for i, (p, part) in enumerate(zip(ordered, parts)):
                st = self.state[p]
                if "m" not in st:
                    st["m"] = torch.zeros_like(p)
                st["m"].lerp_(p.grad, 1 - g["momentum"])
                if (0, 1, 1, 0)[i % 4] % world != rank:
                    continue
                d = p.grad.lerp(st["m"], g["momentum"])
                part.copy_(orthogonal(d.flatten(1) if d.ndim == 4 else d).flatten())
            if world > 1:
                torch.distributed.all_reduce(flat)
            for p, part in zip(ordered, parts):
                size = p.flatten(1).shape[-2:] if p.ndim == 4 else p.shape[-2:]
                p.mul_(1 - g["lr"] * g["weight_decay"])
                p.add_(part.view_as(p), alpha=-g["lr"] * 0.2 * max(size) ** 0.5)


def orthogonal(x):
    """By five steps of a Newton-Schulz iteration, in bfloat16 as its author does; batched products fused with sums."""
    turned = x.shape[-2] > x.shape[-1]
    if turned:
        x = x.transpose(-1, -2)
    shape = x.shape
    x = x.reshape(-1, *shape[-2:])
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    if min(shape[-2:]) >= 64 and len(x) > 1:
        x = x.bfloat16()
    for _ in range(5):
        a = torch.bmm(x, x.transpose(-1, -2))
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    x = x.float().reshape(shape)
    return x.transpose(-1, -2) if turned else x


def widened(weights, net):
    """Weights for windows of 2048 samples, for those of 4096: each bin becomes two; what is new begins at random, unheard."""
    out = dict(net.state_dict())
    for k, v in weights.items():
        if k in ("scale", "shift"):
            v = v.repeat_interleave(2, 2)
        elif k in ("low.linear.weight", "high.linear.weight"):
            v = v.view(len(v), -1, 7).repeat_interleave(2, 1).flatten(1) / 2
        elif k in ("low_out.linear.weight", "high_out.linear.weight"):
            v = v.view(-1, 2, v.shape[1]).repeat_interleave(2, 0).flatten(0, 1)
            v = torch.nn.functional.pad(v, (0, net.context.out_features))
        elif k in ("low_out.linear.bias", "high_out.linear.bias"):
            v = v.view(-1, 2).repeat_interleave(2, 0).flatten()
        out[k] = v
    return out


def main():
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        torch.distributed.init_process_group("gloo")
    end = time.mktime(time.strptime(time.strftime("%Y-%m-%d ") + os.environ["END"], "%Y-%m-%d %H:%M"))
    out = Path(os.environ.get("OUT", "run"))
    out.mkdir(exist_ok=True, parents=True)
    lr = float(os.environ.get("LR", "8e-4"))
    most = int(os.environ.get("STEPS", "1000000"))
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    net = Mini()
    from safetensors.torch import load_file

    weights = {k: v.float() for k, v in load_file(os.environ["FROM"]).items()}
    net.load_state_dict(weights if "context.weight" in weights else widened(weights, net))
    net.train()
    net.scale.requires_grad_(False)
    net.shift.requires_grad_(False)
    net.features = torch.compile(net.features, dynamic=False)
    named = {k: p for k, p in net.named_parameters() if p.requires_grad}
    inner = {}
    if os.environ.get("MUON") == "1":
        inner = {
            k: p
            for k, p in named.items()
            if p.ndim >= 2
            and "norm" not in k
            and min(p.shape[:2] if p.ndim == 4 else p.shape[-2:]) >= 32
            and not k.startswith(("low", "high", "scale", "shift"))
        }
    rest = [p for k, p in named.items() if k not in inner]
    decay = [p for p in rest if p.ndim > 1]
    other = [p for p in rest if p.ndim <= 1]
    opts = [
        torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.01}, {"params": other, "weight_decay": 0.0}], lr=lr, betas=(0.9, 0.98)
        )
    ]
    if inner:
        opts.append(Muon(list(inner.values()), lr=lr))
    if rank == 0:
        print(
            "inner",
            len(inner),
            sum(p.numel() for p in inner.values()),
            "rest",
            sum(p.numel() for p in rest),
            flush=True,
        )
    ema = copy.deepcopy(net)
    step = 0
    start = time.time()
    audio = 0.0
    ck = out / "last.pt"
    if ck.exists():
        c = torch.load(ck)
        net.load_state_dict(c["net"])
        ema.load_state_dict(c["ema"])
        for o, d in zip(opts, c["opt"]):
            o.load_state_dict(d)
        step, start, audio = c["step"], c["start"], c["audio"]
        print("resumed at", step, flush=True)
    vs = valset() if rank == 0 else None
    last_val = last_ck = time.time()
    acc = []
    waited = 0.0
    seen = audio
    mark = time.time()
    log = open(out / "log.csv", "a")
    batch, frames = int(os.environ.get("BATCH", "4")), 256
    seed = int(os.environ.get("SEED", "0")) + 1000 * rank + step
    it = iter(DataLoader(Stream(batch, frames, seed=seed), batch_size=None, num_workers=1, prefetch_factor=4))
    while True:
        prog = torch.tensor([(time.time() - start) / (end - start), step / most]).max().reshape(1)
        if world > 1:
            torch.distributed.broadcast(prog, 0)
        prog = float(prog)
        if prog >= 1:
            break
        flat = float(os.environ.get("FLAT", "0"))
        rate = lr * min(1, step / 60 + 0.02) * (1 if flat else (0.5 + 0.5 * math.cos(math.pi * prog))) + 2e-6
        for o in opts:
            for g in o.param_groups:
                g["lr"] = rate
        t0 = time.time()
        x = next(it)
        waited += time.time() - t0
        lc, ls = loss_of(net, x)
        loss = lc + ls
        loss.backward()
        grads = torch.cat([p.grad.flatten() for p in named.values()] + [loss.detach().reshape(1)])
        if world > 1:
            torch.distributed.all_reduce(grads)
            grads /= world
            at = 0
            for p in named.values():
                p.grad.copy_(grads[at : at + p.numel()].view_as(p))
                at += p.numel()
        if not torch.isfinite(grads).all():
            print("nan", flush=True)
            net.zero_grad()
            continue
        gn = torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        for o in opts:
            o.step()
        net.zero_grad(set_to_none=True)
        step += 1
        audio += world * batch * frames * HOP / SR
        d = min(float(os.environ.get("EMA", "0.998")), (step + 1) / (step + 10))
        with torch.no_grad():
            for a, b in zip(ema.parameters(), net.parameters()):
                a.lerp_(b, 1 - d)
        acc.append((lc.item(), ls.item(), gn.item()))
        if step % 25 == 0 and rank == 0:
            m = np.mean(acc, 0)
            acc = []
            print(
                f"{time.strftime('%H:%M:%S')} step {step} audio {audio / 3600:.2f}h prog {prog:.3f} lc {m[0]:.4f} ls {m[1]:.4f} gn {m[2]:.2f} lr {rate:.2e} x rt {(audio - seen) / (time.time() - mark):.1f} waited {waited / (time.time() - mark):.2f}",
                flush=True,
            )
            waited = 0.0
            seen = audio
            mark = time.time()
        if rank == 0 and time.time() - last_val > float(os.environ.get("VAL", "600")):
            validated(ema, vs, step, audio, log)
            last_val = time.time()
        if rank == 0 and time.time() - last_ck > 180:
            save(ck, net, ema, [o.state_dict() for o in opts], step, start, audio)
            last_ck = time.time()
    if rank == 0:
        validated(ema, vs, step, audio, log)
        validated(net, vs, step, audio, log)
        save(ck, net, ema, [o.state_dict() for o in opts], step, start, audio)


def validated(net, vs, step, audio, log):
    v = validate(net, vs)
    print("VAL", step, {k: round(x, 2) for k, x in v.items()}, flush=True)
    log.write(
        f"{time.strftime('%H:%M:%S')},{step},{audio / 3600:.3f},{v['4.Potassium']:.3f},{v['6.Caesium']:.3f},{v['gain']:.3f},{v['removed']:.2f},{v['worst_removed']:.2f}\n"
    )
    log.flush()


def save(ck, net, ema, opt, step, start, audio):
    torch.save(
        {
            "net": net.state_dict(),
            "ema": ema.state_dict(),
            "opt": opt,
            "step": step,
            "start": start,
            "audio": audio,
        },
        str(ck) + ".part",
    )
    os.replace(str(ck) + ".part", ck)


if __name__ == "__main__":
    main()
