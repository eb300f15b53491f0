"""Which architecture a checkpoint is, from the names and shapes of its tensors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.errors import CheckpointError
from frametx.models.gan_v1 import GanV1
from frametx.models.libft2 import LibFT2
from frametx.models.mini import Mini
from frametx.models.v1 import V1
from frametx.models.v2b import V2b
from frametx.models.v4 import V4
from frametx.models.v6 import V6
from frametx.models.v7 import V7
from frametx.models.v8 import V8
from frametx.models.v9 import V9
from frametx.models.v10 import V10

if TYPE_CHECKING:
    from frametx.models.network import Network, Shapes

NETWORKS: dict[str, type[Network]] = {
    network.architecture: network for network in (Mini, V10, V9, V8, V7, V6, V4, GanV1, LibFT2, V2b, V1)
}


def architecture_of(shapes: Shapes) -> type[Network]:
    """Find the one architecture whose marks the tensors bear.

    Args:
        shapes: Names and shapes of the tensors, prefixes stripped.

    Raises:
        CheckpointError: None knows itself in them.
    """
    for network in NETWORKS.values():
        if network.recognises(shapes):
            return network
    names = ", ".join(list(shapes)[:3])
    raise CheckpointError(
        f"{len(shapes)} tensors of no known architecture, first {names}",
        f"known architectures: {', '.join(NETWORKS)}",
    )


def network_class(architecture: str) -> type[Network]:
    """Return the class of an architecture by its name.

    Raises:
        CheckpointError: There is no such architecture.
    """
    if architecture not in NETWORKS:
        raise CheckpointError(f"there is no architecture '{architecture}'", f"there are {', '.join(NETWORKS)}")
    return NETWORKS[architecture]
