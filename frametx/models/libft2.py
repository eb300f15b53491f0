"""libft2: the network of the project's founding text, of which no checkpoint was ever released.

Notable features, beside those of gan-v1:
- the attention at the deepest level has 3x3 kernels

Source: sections 2 and 4 of the specification of v1 to v6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from frametx.models.gan_v1 import GanV1

if TYPE_CHECKING:
    from frametx.models.network import Shapes


class LibFT2(GanV1):
    """The network.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the mask.
        channels: Channels of the first level.
        n_fft: Size of the STFT; divisible by 512.
        num_heads: Attention heads.
        num_attention_maps: Attention maps at every level but the deepest.
        expansion: Hidden bins of the feed-forward parts.
        num_bridge_layers: Layers of the deepest level.
    """

    architecture: ClassVar[str] = "libft2"
    bridge_kernel: ClassVar[int] = 3

    def __init__(
        self,
        *,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 2,
        n_fft: int = 2048,
        num_heads: int = 4,
        num_attention_maps: int = 4,
        expansion: int = 4,
        num_bridge_layers: int = 4,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            channels=channels,
            n_fft=n_fft,
            num_heads=num_heads,
            num_attention_maps=num_attention_maps,
            expansion=expansion,
            latent_expansion=4,
            num_bridge_layers=num_bridge_layers,
        )

    @classmethod
    def sizes_from(cls, shapes: Shapes) -> dict[str, Any]:
        """Read the constructor's values from a checkpoint's tensors."""
        sizes = super().sizes_from(shapes)
        del sizes["latent_expansion"]
        return sizes
