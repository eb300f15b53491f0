"""What a batch of songs says about a network: spectra, mask, and the terms of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from frametx.training.losses import SeparationLoss
from frametx.training.spectra import Spectra, feed, spectra_of

if TYPE_CHECKING:
    from frametx.models.network import Network
    from frametx.training.adversary import Adversary
    from frametx.training.config import TrainingConfig
    from frametx.training.distributed import Process
    from frametx.training.plan import Phase


class Objective:
    """The loss terms of a training.

    Args:
        config: The training.
        network: What is trained.
        parallel: The same, as it is called where several processes share the work.
        process: This process.
        adversary: Who tells estimates from instrumentals, if anybody does.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: Network,
        parallel: nn.Module,
        process: Process,
        adversary: Adversary | None,
    ) -> None:
        self.config = config
        self.network = network
        self.process = process
        self.adversary = adversary
        self._parallel = parallel
        self._loss = SeparationLoss(config.loss, network.framing).to(process.device)

    def terms(
        self, stems: Tensor, headroom_db: Tensor, phase: Phase, *, first_number: int, adversarial: bool
    ) -> dict[str, Tensor]:
        """The loss terms of a batch.

        Args:
            stems: Instrumental and vocals of songs, `[b 2 c n]`.
            headroom_db: How far each crop's peak lies below the peak its song is supposed to have, `[b]`.
            phase: The stage of the training.
            first_number: The number of the batch's first song, over all processes; the songs' noise depends on it.
            adversarial: Whether the adversary learns and counts already.

        Returns:
            Scalars by name, whose sum is the loss.
        """
        device = self.process.device
        # Apple's GPUs would go on reading these after they are gone, whose memory nothing holds (torch's issue 189690)
        goes_on = device.type == "cuda"
        stems, headroom_db = (x.to(device, non_blocking=goes_on) for x in (stems, headroom_db))
        with torch.no_grad():
            if phase.denoise:
                stems = torch.stack([stems[:, 0], self._noise(stems[:, 0], first_number)], dim=1)
            spectra = spectra_of(stems, headroom_db, self.network.framing)
            features = feed(self.network, spectra, phase.frames)
            spectra = spectra.last(phase.frames)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            logits = self._parallel(features)
        mask = torch.sigmoid(logits.float())
        terms: dict[str, Tensor] = self._loss(mask, spectra)
        if self.adversary is not None and adversarial and not phase.denoise:
            terms |= self._against(self.adversary, mask, spectra)
        return terms

    def _against(self, adversary: Adversary, mask: Tensor, spectra: Spectra) -> dict[str, Tensor]:
        mix = spectra.mix.abs()
        estimate = mask * mix
        adversary.learn(mix, spectra.instrumental.abs(), estimate, self.process)
        return {"adversary": adversary.term(mix, estimate)}

    def _noise(self, like: Tensor, first_number: int) -> Tensor:
        """White noise at the configured level; every song has its own, whichever process has the song."""
        first = first_number + self.process.rank * len(like)
        noise = torch.stack(
            [
                torch.randn(song.shape, generator=torch.Generator().manual_seed(self.config.seed + number))
                for number, song in enumerate(like, first)
            ]
        ).to(like.device)
        level = like.square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-4
        return noise * level * 10 ** (self.config.pretraining.noise_db / 20)
