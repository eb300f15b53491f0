"""Forward passes of all architectures, written from the specification with plain building blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange

from tests.reference.plain import (
    Weights,
    attend,
    attend_out,
    attention,
    gelu,
    lrelu,
    plane_attend,
    positional,
    project,
    sqrelu,
    upsample,
)

DOWN = (2, 1)


def cat(*tensors):
    return torch.cat(tensors, 1)


def embedded(w, x):
    return w.conv("embed", x) if w.has("embed") else x


def plus(scores, more):
    return more if scores is None else scores + more


def v10(w, x, n):
    skips = []
    for k in range(1, 7):
        z = w.block(f"enc{k}", x, lrelu, 1 if k == 1 else (1, 2), ("norm1", "idt"))
        t = w.at(f"enc{k}_transformer")
        h = t.norm("norm1", z)
        a, scores = attend_out(t.at("attn"), h, h, n)
        x = cat(z + t.conv("conv2", lrelu(t.conv("conv1", t.norm("norm2", cat(z, a))))), a)
        skips.append((x, a, scores))
    for k in range(5, 0, -1):
        skip, ak, scores = skips[k - 1]
        z = w.block(f"dec{k}", cat(skip, upsample(x, skip)), lrelu, 1, ("norm1", "idt"))
        t = w.at(f"dec{k}_transformer")
        h = t.norm("norm1", z)
        a, _ = attend_out(t.at("self_attn"), h, h, n, scores)
        a2, _ = attend_out(t.at("skip_attn"), t.norm("norm2", cat(z, a)), cat(skip, ak), n, scores)
        u = cat(ak, a, a2)
        x = cat(z + t.conv("conv2", lrelu(t.conv("conv1", t.norm("norm3", cat(z, u))))), u)
    return w.conv("out", x)


def v9(w, x, n):
    names = ("norm1", "idt")
    e1 = w.block("enc1", x, lrelu, 1, names)
    e2 = w.block("enc2", e1, lrelu, 2, names)
    e3 = w.block("enc3", e2, lrelu, 2, names)
    z = w.block("enc4", e3, lrelu, 2, names)
    s = w["transformer.0.conv1.weight_pw"].shape[2]
    r, j, b = z.shape[2] // s, z.shape[3] // s, z.shape[0]
    g = rearrange(z, "b c (r f) (j t) -> (b r j) c f t", r=r, j=j)
    scores = None
    layer = 0
    while w.has(f"transformer.{layer}"):
        t = w.at(f"transformer.{layer}")
        a = t.at("attn")
        h = t.norm("norm1", g)

        def tokens(y):  # every channel a map, every chunk a frame, its values the bins
            return rearrange(y, "(b l) c f t -> b c (f t) l", b=b)

        q, k, v = (tokens(project(a, name, h)) for name in ("q_proj", "k_proj", "v_proj"))
        # the scale is that of a chunk's side, not of its area
        y, scores = attention(q * s**0.5, k, v, freqs=a["embedding.freqs"], heads=n, previous=scores)
        y = a.linear("o_proj", rearrange(y, "b c (f t) l -> (b l) c f t", f=s))
        g = g + t.linear("conv2", lrelu(t.linear("conv1", t.norm("norm2", cat(g, y)))))
        layer += 1
    z = rearrange(g, "(b r j) c f t -> b c (r f) (j t)", r=r, j=j)
    for name, e in (("dec3", e3), ("dec2", e2), ("dec1", e1)):
        z = w.block(name, cat(e, upsample(z, e)), lrelu, 1, names)
    return w.conv("out", z)


def v8(w, x, n):
    source, own, heard, skips = x, None, None, []
    for k in range(1, 7):
        z = w.block(f"enc{k}.body", x, gelu, 1 if k == 1 else DOWN)
        t = w.at(f"enc{k}_transformer")
        h = t.norm("norm", z)
        a, own = attend_out(t.at("self_attn"), h, h, n, own)
        b, heard = attend_out(t.at("src_attn"), cat(h, a), source, n, heard)
        x = z + t.linear("conv2", gelu(t.linear("conv1", cat(h, a, b))))
        skips.append((x, own))
    for k in range(5, 0, -1):
        skip, scores = skips[k - 1]
        z = w.block(f"dec{k}.body", cat(upsample(x, skip), skip), gelu)
        t = w.at(f"dec{k}_transformer")
        h = t.norm("norm", z)
        a, own = attend_out(t.at("self_attn"), h, h, n, own)
        c, _ = attend_out(t.at("skip_attn"), cat(h, a), skip, n, scores)
        b, heard = attend_out(t.at("src_attn"), cat(h, a, c), source, n, heard)
        x = z + t.linear("conv2", gelu(t.linear("conv1", cat(h, a, c, b))))
    return w.conv("out", x)


def v7(w, x, n):
    x = cat(x, positional(w.at("positional_embedding"), x, gelu))
    scores, skips = None, []
    for k in range(1, 10):
        x = w.block(f"enc{k}.body", x, gelu, 1 if k == 1 else DOWN)
        t = w.at(f"enc{k}_transformer")
        h = embedded(t, x)
        z = t.norm("norm1", h)
        a, scores = attend_out(t.at("attn"), z, z, n if k < 9 else n // 2, scores if k < 9 else None)
        h = h + a
        h = h + t.linear("conv2", gelu(t.linear("conv1", t.norm("norm2", h))))
        x = cat(x, h)
        skips.append((x, scores))
    p1 = p2 = None
    for k in range(8, 0, -1):
        skip, q = skips[k - 1]
        x = w.block(f"dec{k}.body", cat(upsample(x, skip), skip), gelu)
        t = w.at(f"dec{k}_transformer")
        h = embedded(t, x)
        z = t.norm("norm1", h)
        a, p1 = attend_out(t.at("attn1"), z, z, n, plus(p1, q))
        h = h + a
        a, p2 = attend_out(t.at("attn2"), t.norm("norm2", h), t.conv("embed_skip", skip), n, plus(p2, q + p1))
        h = h + a
        h = h + t.linear("conv2", gelu(t.linear("conv1", t.norm("norm3", h))))
        x = cat(x, h)
    return w.conv("out", x)


def v4_attention(w, x, memory, n, previous):
    y, scores = attend(w, x, memory, n, previous)
    return w.conv("o_proj", cat(x, w.linear("o_linear", y))), scores


def v4(w, x, n):
    x = cat(x, positional(w.at("positional_embedding"), x, gelu))
    scores, skips = None, []
    for k in range(1, 9):
        x = w.block(f"enc{k}.body", x, gelu, 1 if k == 1 else DOWN)
        t = w.at(f"enc{k}_transformer")
        z = t.norm("norm1", x)
        a, scores = v4_attention(t.at("attn"), z, z, n, scores)
        x = x + a
        x = x + t.conv("conv2", gelu(t.conv("conv1", t.norm("norm2", x))))
        skips.append((x, scores))
    x = w.block("enc9.body", x, gelu, DOWN)
    layer, scores = 0, None
    while w.has(f"enc9_transformer.{layer}"):
        t = w.at(f"enc9_transformer.{layer}")
        a, scores = plane_attend(t.at("attn"), t.channel_norm("norm1", x), n, scores)
        x = x + a
        x = x + t.conv("conv2", gelu(t.conv("conv1", t.channel_norm("norm2", x))))
        layer += 1
    chain = None
    for k in range(8, 0, -1):
        skip, q = skips[k - 1]
        x = w.block(f"dec{k}.body", cat(upsample(x, skip), skip), gelu)
        t = w.at(f"dec{k}_transformer")
        z = t.norm("norm1", x)
        a, chain = v4_attention(t.at("attn1"), z, z, n, chain)
        h = x + a
        a, _ = v4_attention(t.at("attn2"), t.norm("norm2", a), skip, n, q)
        h = h + a
        x = h + t.conv("conv2", gelu(t.conv("conv1", t.norm("norm3", h))))
    return w.conv("out.2", gelu(w.conv("out.0", x)))


def frame_conv(w, name, x):
    return w.linear(name, w.conv(f"{name}.conv", x))


def gate(w, u, v):
    h = sqrelu(F.conv3d(cat(u, v), w["0.weight"], w["0.bias"], padding=1))
    g = torch.sigmoid(F.conv3d(h, w["2.weight"], w["2.bias"], padding=1))
    return g * u + (1 - g) * v


def gan_v1(w, x, n):
    x = cat(x, positional(w.at("positional_embedding"), x, sqrelu))
    scores, skips = None, []
    for k in range(1, 9):
        x = w.block(f"enc{k}.body", x, sqrelu, 1 if k == 1 else DOWN)
        t = w.at(f"enc{k}_transformer")
        h = embedded(t, x)
        h = h + F.glu(t.linear("glu.0", t.norm("norm1", h)), dim=2)
        z = t.norm("norm2", h)
        h = h + sqrelu(t.linear("conv1a", z)) + sqrelu(frame_conv(t, "conv1b", z))
        h = h + frame_conv(t, "conv2", t.norm("norm3", h))
        z = t.norm("norm4", h)
        a, scores = attend_out(t.at("attn"), z, z, n, scores)
        h = h + a
        h = h + t.linear("conv4", sqrelu(t.linear("conv3", t.norm("norm5", h))))
        x = cat(x, h)
        skips.append((x, h, scores))
    x = w.block("enc9.body", x, sqrelu, DOWN)
    layer, scores = 0, None
    while w.has(f"enc9_transformer.{layer}"):
        t = w.at(f"enc9_transformer.{layer}")
        h = x + F.glu(t.conv("glu.0", t.channel_norm("norm1", x)), dim=1)
        z = t.channel_norm("norm2", h)
        h = h + sqrelu(t.conv("conv1a", z)) + sqrelu(t.conv("conv1b.1", t.conv("conv1b.0", z)))
        h = h + t.conv("conv2.1", t.conv("conv2.0", t.channel_norm("norm3", h)))
        a, scores = plane_attend(t.at("attn"), t.channel_norm("norm4", h), n, scores)
        h = x + a
        x = h + t.conv("conv4", sqrelu(t.conv("conv3", t.channel_norm("norm5", h))))
        layer += 1
    s1 = s2 = None
    for k in range(8, 0, -1):
        skip, maps, q = skips[k - 1]
        x = w.block(f"dec{k}.body", cat(upsample(x, skip), skip), sqrelu)
        t = w.at(f"dec{k}_transformer")
        h = embedded(t, x)
        z = t.norm("norm1", h)
        a, s1 = attend_out(t.at("attn1a"), z, z, n, s1)
        s2 = gate(t.at("gate1"), s2, q) if t.has("gate1") else q
        b, s2 = attend_out(t.at("attn1b"), z, maps, n, s2)
        h = h + a + b
        z = t.norm("norm2", h)
        z = t.norm("norm3", sqrelu(frame_conv(t, "conv1a", z)) + frame_conv(t, "conv1b", z))
        h = h + frame_conv(t, "conv2", z)
        z = t.norm("norm4", h)
        a, s1 = attend_out(t.at("attn2"), z, z, n, s1)
        h = h + a
        a, s2 = attend_out(t.at("attn3"), t.norm("norm5", h), maps, n, gate(t.at("gate2"), s2, q))
        h = h + a
        h = h + t.linear("conv4", sqrelu(t.linear("conv3", t.norm("norm6", h))))
        x = cat(x, h)
    return w.conv("out", x)


def v2b_encoder(t, x, n, scores):
    h = t.conv("embed", x)
    z = t.norm("norm1", h)
    a, scores = attend_out(t.at("attn"), z, z, n, scores)
    h = h + a
    h = h + t.conv("conv2", sqrelu(t.conv("conv1", t.norm("norm2", h))))
    return cat(x, h), h, scores


def v2b(w, x, n):
    x = cat(x, positional(w.at("positional_embedding"), x, sqrelu))
    x, _, scores = v2b_encoder(w.at("enc0_transformer"), x, n, None)
    skips = []
    for k in range(1, 7):
        x = linear_body(w, f"enc{k}.body", x, DOWN if k > 1 else 1)
        x, maps, scores = v2b_encoder(w.at(f"enc{k}_transformer"), x, n, scores)
        skips.append((x, maps, scores))
    for k in range(5, 0, -1):
        skip, maps, q = skips[k - 1]
        x = linear_body(w, f"dec{k}.body", cat(upsample(x, skip), skip), 1)
        t = w.at(f"dec{k}_transformer")
        h = t.conv("embed", x)
        z = t.norm("norm1", h)
        a, scores = attend_out(t.at("attn1"), z, z, n, scores)
        h = h + a
        a, _ = attend_out(t.at("attn2"), t.norm("norm2", h), maps, n, q)
        h = h + a
        h = h + t.conv("conv2", sqrelu(t.conv("conv1", t.norm("norm3", h))))
        x = cat(x, h)
    return torch.einsum("oc,bcft->boft", w["out"], x)


def linear_body(w, name, x, stride):
    return w.block(name, x, sqrelu, stride)


def v1(w, x, n):
    def feed_forward(t, h):
        return h + t.linear("conv2", sqrelu(t.linear("conv1", t.norm("norm2", h))))

    skips = []
    for k in range(7):
        if k > 0:
            x = w.block(f"enc{k}.body.0", x, sqrelu, 1 if k == 1 else DOWN)
        t = w.at(f"enc{k}_transformer")
        h = t.conv("embed", x)
        z = t.norm("norm1", h)
        h = feed_forward(t, h + attend_out(t.at("attn"), z, z, n)[0])
        x = cat(x, h)
        skips.append((x, h))
    for k in range(5, 0, -1):
        skip, maps = skips[k]
        x = w.block(f"dec{k}.body.0", cat(upsample(x, skip), skip), sqrelu)
        t = w.at(f"dec{k}_transformer")
        h = t.conv("embed", x)
        z = t.norm("norm1", h)
        h = h + attend_out(t.at("attn1"), z, z, n)[0]
        h = h + attend_out(t.at("attn2"), t.norm("norm1", h), maps, n)[0]
        x = cat(x, feed_forward(t, h))
    return torch.einsum("oc,bcft->boft", w["out"], x)


FORWARDS = {
    "v10": v10,
    "v9": v9,
    "v8": v8,
    "v7": v7,
    "v6": v7,  # the same but for sizes and what the tensors say
    "v4": v4,
    "gan-v1": gan_v1,
    "libft2": gan_v1,
    "v2b": v2b,
    "v1": v1,
}


def reference(architecture, state, x, heads=8):
    """Return the logits `b out f t` of a network given by its state dict."""
    return FORWARDS[architecture](Weights(state), x, heads)
