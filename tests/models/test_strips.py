"""What is computed in strips and blocks is what is computed at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frametx.models import held, strips
from frametx.models.attention import Factor
from frametx.models.convolutions import Conv
from frametx.models.detect import NETWORKS
from frametx.models.strips import in_strips


@settings(deadline=None, max_examples=40)
@given(
    frames=st.integers(1, 60),
    stride=st.sampled_from([1, 2]),
    values=st.integers(1, 2000),
    min_frames=st.integers(2, 20),
)
def test_strips_join_to_the_whole(frames, stride, values, min_frames):
    """Two convolutions in a row give the same in any strips, at any width, with and without a stride."""
    torch.manual_seed(frames)
    first, second = Conv(3, 4), Conv(4, 2, stride=(1, stride))

    def function(x, y):
        return second(first(torch.cat((x, y), dim=1)).relu())

    x, y = torch.randn(2, 1, frames, 7), torch.randn(2, 2, frames, 7)
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "CPU_BYTES", 4 * values)
        got = in_strips(function, x, y, width=28, stride=stride, min_frames=min_frames)
        assert torch.allclose(got, function(x, y), atol=1e-5)


@pytest.mark.parametrize("name", ["v10", "v8", "v7", "v6", "v4", "v2b"])
@pytest.mark.parametrize("limit", [0, 2**30], ids=["from factors", "held"])
def test_scores_in_blocks_are_all_scores(name, limit, recording_of, monkeypatch):
    """Attention block by block, from factors or from buffers kept for chains, gives the recorded outputs."""
    monkeypatch.setattr(held, "MIN_FRAMES", 1)
    monkeypatch.setattr(held, "PASS_WIDTH", 2)
    monkeypatch.setattr(held, "LIMIT_BYTES", limit)
    monkeypatch.setattr(held, "BLOCK_BYTES", 1000)
    recording = recording_of(name)
    network = NETWORKS[name](**recording.meta["hparams"]).eval()
    recording.fill(network)
    with torch.inference_mode():
        assert recording.error(network(recording.input())) <= recording.meta["rtol32"]


def test_a_kept_sum_of_bfloat16_products_is_float32(monkeypatch):
    """What a later layer adds still counts beside a large score of an earlier one."""
    monkeypatch.setattr(held, "cpu_has_amx", lambda: False)
    one = torch.ones(1, 1, 8, 1, 1, dtype=torch.bfloat16)
    frames = torch.arange(8, dtype=torch.bfloat16).view(1, 1, 8, 1, 1)
    large, small = Factor(256 * one, one), Factor(one, frames / 16)
    workspace = held.Workspace()
    with torch.inference_mode():
        held.attend_blockwise({large: 1}, frames, workspace, "chain")
        got = held.attend_blockwise({large: 1, small: 1}, frames, workspace, "chain")
    weights = (torch.arange(8.0) / 16).softmax(dim=0)
    assert torch.allclose(got.float(), weights @ torch.arange(8.0), atol=0.02)


def test_buffers_that_help_only_together_are_added_together(monkeypatch):
    """A factor that occurs twice is not computed anew when two buffers hold it once each."""
    monkeypatch.setattr(held, "PASS_WIDTH", 2)
    multiplied = []
    update = held._update

    def watched(scores, query, key, added, *, fresh):
        multiplied.append(query.shape[-1])
        update(scores, query, key, added, fresh=fresh)

    monkeypatch.setattr(held, "_update", watched)
    wide, narrow, own = (Factor(torch.randn(1, 1, 8, 1, width), torch.randn(1, 1, 8, 1, width)) for width in (64, 1, 1))
    value = torch.randn(1, 1, 8, 1, 4)
    workspace = held.Workspace()
    with torch.inference_mode():
        held.attend_blockwise({wide: 1}, value, workspace, "first")
        held.attend_blockwise({wide: 1, narrow: 1}, value, workspace, "second")
        got = held.attend_blockwise({wide: 2, narrow: 1, own: 1}, value, workspace, None)
    assert multiplied[-1] == 1
    terms = ((wide, 2), (narrow, 1), (own, 1))
    scores = sum(n * factor.query[0, 0, :, 0] @ factor.key[0, 0, :, 0].t() for factor, n in terms)
    assert torch.allclose(got[0, 0], scores.softmax(dim=-1) @ value[0, 0, :, 0], atol=1e-5)
