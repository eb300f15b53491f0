"""v6: the wide predecessor of v7.

Notable features, beside those of v7:
- four maps and 36 channels instead of two and eight
- the feed-forward parts of the encoders mix their maps, too
- one hidden size for all levels

Source: section 6 of the specification of v1 to v6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from frametx.models.v7 import N_LEVELS, V7

if TYPE_CHECKING:
    from frametx.models.network import Shapes


class V6(V7):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 512.
        num_heads: Attention heads; half as many at the ninth level.
        num_attention_maps: Attention maps at every level; another number than any level's channels.
        expansion: Hidden bins of the feed-forward parts.
    """

    architecture: ClassVar[str] = "v6"
    encoders_mix: ClassVar[bool] = True

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 36,
        n_fft: int = 2048,
        num_heads: int = 8,
        num_attention_maps: int = 4,
        expansion: int = 4096,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            channels=channels,
            n_fft=n_fft,
            num_heads=num_heads,
            num_attention_maps=num_attention_maps,
            expansions=(expansion,) * N_LEVELS,
        )

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        sizes = super().sizes_from(shapes)
        sizes["expansion"] = sizes.pop("expansions")[0]
        return sizes
