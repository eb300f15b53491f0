"""The network of a training: a new one, a copy of a checkpoint's, or the one that the training goes on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frametx.errors import TrainingError, UsageError
from frametx.models.checkpoint import load_network, network_for
from frametx.models.detect import network_class
from frametx.models.network import Feeding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from frametx.models.network import Network
    from frametx.training.config import NetworkConfig


def new_network(config: NetworkConfig) -> Network:
    """Make the config's network, with random weights.

    Raises:
        TrainingError: The sizes do not fit the architecture.
        CheckpointError: There is no such architecture.
        UsageError: Its channels are not what trainings are made for.
    """
    cls = network_class(config.architecture)
    try:
        network = cls(**config.sizes)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise TrainingError(f"network.sizes do not fit {config.architecture}: {error}") from error
    return _trainable(network)


def copied_network(path: Path) -> Network:
    """Load a checkpoint's network, with weights in memory of its own.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        UsageError: Its channels are not what trainings are made for.
    """
    network = load_network(path)
    for parameter in network.parameters():  # mapped from the file, which must not change
        parameter.data = parameter.data.clone()
    return _trainable(network)


def kept_network(weights: Mapping[str, Tensor], path: Path) -> Network:
    """Make the network that a training's checkpoint holds the weights of.

    Args:
        weights: The tensors by name.
        path: The checkpoint, for messages.

    Raises:
        CheckpointError: The tensors are of no known network.
        UsageError: Its channels are not what trainings are made for.
    """
    network = network_for({name: tuple(tensor.shape) for name, tensor in weights.items()}, path)
    network.load_state_dict(weights, assign=True)
    return _trainable(network)


def _trainable(network: Network) -> Network:
    """The network in training mode, unless trainings have no input of its kind."""
    wanted = {
        Feeding.MAGNITUDE: 2,
        Feeding.MAGNITUDE_AND_PHASE: 4,
        Feeding.MAGNITUDE_AND_MIDDLE: 4,
        Feeding.HISTORY: 10,
    }[network.feeding]
    if (network.in_channels, network.out_channels) != (wanted, 2):
        raise UsageError(f"{network.architecture} is trained with {wanted} channels in and 2 out")
    return network.requires_grad_(requires_grad=True).train()
