"""The networks as their specification writes them: functions of a state dict, `b c f t`, all scores held.

Nothing here is fast or small, and nothing is shared with the package: it is what the package is held against.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange


def gelu(x):
    return F.gelu(x)


def lrelu(x):
    return F.leaky_relu(x, 0.01)


def sqrelu(x):
    return torch.relu(x) ** 2


class Weights:
    """A view of a state dict below a prefix, with the building blocks as methods."""

    def __init__(self, state, prefix=""):
        self.state = state
        self.prefix = prefix

    def at(self, name):
        return Weights(self.state, f"{self.prefix}{name}.")

    def get(self, name):
        return self.state.get(self.prefix + name)

    def __getitem__(self, name):
        return self.state[self.prefix + name]

    def has(self, name):
        return any(key.startswith(f"{self.prefix}{name}.") for key in self.state)

    def conv(self, name, x, stride=1):
        weight = self[f"{name}.weight"]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        return F.conv2d(x, weight, self.get(f"{name}.bias"), stride, padding, groups=x.shape[1] // weight.shape[1])

    def linear(self, name, x):
        y = torch.einsum("cof,bcft->bcot", self[f"{name}.weight_pw"], x)
        mix = self.get(f"{name}.weight_dw")
        return y if mix is None else torch.einsum("dc,bcot->bdot", mix, y)

    def norm(self, name, x):
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        if weight is None:  # shared by all channels
            weight, bias = self[f"{name}.norm.weight"], self[f"{name}.norm.bias"]
            return F.layer_norm(x.transpose(2, 3), x.shape[2:3], weight, bias, eps=1e-5).transpose(2, 3)
        if weight.dim() == 1:  # over the plane
            return F.instance_norm(x, weight=weight, bias=bias, eps=1e-5)
        y = F.layer_norm(x.transpose(2, 3), x.shape[2:3], eps=1e-8) * weight + bias
        return y.transpose(2, 3)

    def channel_norm(self, name, x):
        y = F.layer_norm(
            x.permute(0, 2, 3, 1), x.shape[1:2], self[f"{name}.norm.weight"], self[f"{name}.norm.bias"], eps=1e-5
        )
        return y.permute(0, 3, 1, 2)

    def block(self, name, x, act, stride=1, names=("norm", "identity")):
        w = self.at(name)
        if w.has("conv1") and w.get("conv1.weight") is None:  # matrices instead of convolutions
            h = w.linear("conv2", act(w.linear("conv1", w.norm(names[0], x))))
        else:
            h = w.conv("conv2", act(w.conv("conv1", w.norm(names[0], x))), stride)
        return h + (w.conv(names[1], x, stride) if w.has(names[1]) else x)


def upsample(x, like):
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


def rotate(x, freqs):
    """Turn adjacent pairs of the last axis by the position on the last but one."""
    n = 2 * len(freqs)
    angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * freqs.to(x.dtype)
    cos, sin = (table.repeat_interleave(2, dim=-1) for table in (angles.cos(), angles.sin()))
    turned = x[..., :n]
    partner = torch.stack((-turned[..., 1::2], turned[..., ::2]), dim=-1).flatten(-2)
    return torch.cat((turned * cos + partner * sin, x[..., n:]), dim=-1)


def attention(q, k, v, *, freqs, heads, previous=None):
    """Attend over frames; q, k, v `b a f t`."""
    bins = q.shape[2]
    q, k, v = (rearrange(x, "b a (h d) t -> b a h t d", h=heads) for x in (q, k, v))
    scores = rotate(q, freqs) @ rotate(k, freqs).transpose(-1, -2) / bins**0.5
    if previous is not None:
        scores = scores + previous
    y = torch.softmax(scores, dim=-1) @ v
    return rearrange(y, "b a h t d -> b a (h d) t"), scores


def positional(w, x, act):
    pe = w.get("pe")
    h = x if pe is None else torch.cat((x, pe[..., : x.shape[3]].expand(len(x), -1, -1, -1)), 1)
    extracts = [w.block("extract1", h, act)]
    for i in range(1, 9):
        h = w.block(f"encoder{i}", h, act, 2)
        extracts.append(upsample(w.block(f"extract{i + 1}", h, act), x))
    return w.block("out", torch.cat(extracts, 1), act)


def project(w, name, x):
    """Apply the steps of a projection, convolutions or matrices, in order."""
    if not w.has(f"{name}.0"):
        return w.linear(name, x)
    for step in range(3):
        if w.get(f"{name}.{step}.weight") is not None:
            x = w.conv(f"{name}.{step}", x)
        elif w.get(f"{name}.{step}.weight_pw") is not None:
            x = w.linear(f"{name}.{step}", x)
    return x


def attend(w, x, memory, heads, previous=None):
    """Project, attend; without the output matrix."""
    freqs = w["rotary_embedding.freqs"] if w.has("rotary_embedding") else w["embedding.freqs"]
    q, k, v = project(w, "q_proj", x), project(w, "k_proj", memory), project(w, "v_proj", memory)
    return attention(q, k, v, freqs=freqs, heads=heads, previous=previous)


def attend_out(w, x, memory, heads, previous=None):
    y, scores = attend(w, x, memory, heads, previous)
    return w.linear("out_proj" if w.has("out_proj") else "o_proj", y), scores


def plane_attend(w, x, heads, previous):
    """Attend over all bins of all frames."""

    def tokens(y):
        return rearrange(y, "b c f t -> b 1 c (f t)")

    q, k, v = (tokens(w.conv(name, x)) for name in ("q_proj", "k_proj", "v_proj"))
    y, scores = attention(q, k, v, freqs=w["embedding.freqs"], heads=heads, previous=previous)
    return w.conv("o_proj", rearrange(y, "b 1 c (f t) -> b c f t", t=x.shape[3])), scores
