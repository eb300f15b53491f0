"""The adversarial stage: a discriminator that learns to tell true instrumentals from estimated ones.

It sees compressed magnitudes of the mixture and of an instrumental and answers patch by patch (hinge loss).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frametx.errors import TrainingError

if TYPE_CHECKING:
    from frametx.training.config import AdversaryConfig
    from frametx.training.distributed import Process

COMPRESSION = 0.3
TINY = 1e-7


class Discriminator(nn.Module):
    """Strided convolutions over `[b 4 f t]`, one answer a patch.

    Args:
        channels: Channels of the first layer; they double.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (4, channels, 2 * channels, 4 * channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(given, made, 5, stride=2, padding=2) for given, made in itertools.pairwise(sizes)
        )
        self.out = nn.Conv2d(sizes[-1], 1, 3, padding=1)

    def forward(self, mix: Tensor, instrumental: Tensor) -> Tensor:
        """Judge magnitudes `[b 2 f t]`."""
        x = (torch.cat([mix, instrumental], dim=1) + TINY) ** COMPRESSION
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return self.out(x)  # type: ignore[no-any-return]


class Adversary:
    """A discriminator with its optimiser.

    Args:
        config: Its weight, size and learning rate.
        device: Where it lives.
    """

    def __init__(self, config: AdversaryConfig, device: torch.device) -> None:
        self.config = config
        self.network = Discriminator(config.channels).to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, betas=(0.5, 0.9))

    def learn(self, mix: Tensor, truth: Tensor, estimate: Tensor, process: Process) -> None:
        """Take a step towards telling truth and estimate, magnitudes `[b 2 f t]`, apart."""
        self.network.requires_grad_(requires_grad=True)
        real, fake = self.network(mix, truth), self.network(mix, estimate.detach())
        loss: Tensor = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad = process.mean(parameter.grad)
        self.optimiser.step()

    def term(self, mix: Tensor, estimate: Tensor) -> Tensor:
        """The separation network's loss term: small where the estimate passes for true."""
        self.network.requires_grad_(requires_grad=False)
        judged: Tensor = self.network(mix, estimate).mean()
        return -self.config.weight * judged

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Continue from a checkpoint, at the config's learning rate.

        Raises:
            TrainingError: It is of a discriminator of another size.
        """
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise TrainingError(
                f"the checkpoint's discriminator has not adversary.channels = {self.config.channels}",
                "set the number that the training had, or choose another output folder",
            ) from error
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate
