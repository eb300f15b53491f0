"""Several processes, one training: what `torchrun` says, and torch's DistributedDataParallel."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from frametx.allocator import keep_freed_memory
from frametx.device import pick_device
from frametx.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = timedelta(hours=12)
"""How long processes wait for one another: one decodes all recordings and validates alone. Dead ones torchrun ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """This process among all.

    Attributes:
        rank: Its number; 0 writes files and reports.
        count: How many there are.
        device: Where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def share_of(self, batch: int) -> int:
        """Its part of a batch.

        Raises:
            TrainingError: The batch cannot be shared equally.
        """
        if batch % self.count:
            raise TrainingError(
                f"a batch of {batch} cannot be shared by {self.count} processes", f"use a multiple of {self.count}"
            )
        return batch // self.count

    def wrap(self, network: nn.Module) -> nn.Module:
        """Let gradients be averaged over all processes; alone, the network as it is."""
        if self.count == 1:
            return network
        # some networks compute scores that nobody uses in the last block
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices, find_unused_parameters=True)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
            values = values / self.count
        return values

    def all_equal(self, value: int) -> bool:
        """Whether it is the same in all processes."""
        if self.count == 1:
            return True
        values: list[int | None] = [None] * self.count
        dist.all_gather_object(values, value)
        return len(set(values)) == 1

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join_processes(device: str) -> Iterator[Process]:
    """Join the processes that torchrun started; without torchrun there is only this one."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    found = pick_device(device)
    if found.type == "cpu":
        keep_freed_memory()
    if count == 1:
        yield Process(rank=0, count=1, device=found)
        return
    if found.type == "mps":
        raise TrainingError(
            "processes cannot share a training on Apple's GPUs, which torch connects with nothing",
            "run it without torchrun, or with --device cpu",
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if found.type == "cuda":
        found = torch.device("cuda", local)
        torch.cuda.set_device(found)
    fast = found.type == "cuda" and dist.is_nccl_available()  # not on Windows
    dist.init_process_group("nccl" if fast else "gloo", timeout=PATIENCE)
    try:
        yield Process(rank=dist.get_rank(), count=count, device=found)
    finally:
        dist.destroy_process_group()
