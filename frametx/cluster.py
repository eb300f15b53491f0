"""The songs of a batch on a Ray cluster (extra `frametx[ray]`).

Every song is a task; Ray places the tasks, keeps the processes and their models alive between them, shows how far they
are on its dashboard, and runs a task again whose process or machine died. Songs, stems and checkpoints are reached by the
same paths on every machine, and frametx is installed there.
"""

from __future__ import annotations

import functools
import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from frametx.audio.partfile import remove_abandoned_parts
from frametx.errors import FrametxError, UsageError
from frametx.events import Event, Failed, Note, Progress
from frametx.job import Emit, Job, Work, run_job
from frametx.separator import Separator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from frametx.setup import Setup

_AHEAD = 2  # tasks for each place where one can run: the next song is there when one is done


class Cluster:
    """Does jobs as tasks on a Ray cluster.

    Args:
        address: The cluster's: `auto`, `host:port`, `ray://host:port`; `local` starts one of this machine alone.
        cpus: For `local`, how many CPUs the cluster has; None: all.

    Raises:
        UsageError: Ray is not installed.
        FrametxError: The cluster doesn't answer.
    """

    longest_first = True

    def __init__(self, address: str, *, cpus: int | None = None) -> None:
        try:
            import ray  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise UsageError("--ray needs Ray, which is not installed", "pip install 'frametx[ray]'") from error
        self._ray: Any = ray
        options: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise FrametxError(
                f"the Ray cluster {address} doesn't answer: {error}", "start one: ray start --head"
            ) from error

    def run(self, work: Work, jobs: Iterator[Job], emit: Emit) -> None:
        """Hand out the jobs, a few more than can run at once, and pass on what the tasks say."""
        ray = self._ray
        on_gpu = work.setup.device.startswith("cuda")
        resources = {"num_cpus": 1, "num_gpus": 1} if on_gpu else {"num_cpus": 1}
        if on_gpu:  # each task sees one GPU alone, whichever it is
            work = replace(work, setup=replace(work.setup, device="cuda:0"))
        # a task whose process died is run once more; what a song itself raises is an event and not Ray's business
        task = ray.remote(max_retries=1, **resources)(_separate)
        # a cluster was started in some other folder, and paths may be relative to this one
        shared = ray.put((work, Path.cwd()))
        n_places = max(1, int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1)))
        running: dict[Any, Job] = {}
        try:
            while True:
                while len(running) < _AHEAD * n_places and (job := next(jobs, None)) is not None:
                    running[task.remote(shared, job)] = job
                if not running:
                    return
                for done in ray.wait(list(running))[0]:
                    self._collect(done, running.pop(done), emit)
        finally:
            ray.shutdown()

    def _collect(self, task: Any, job: Job, emit: Emit) -> None:
        """Pass on what a finished task said."""
        try:
            events, error = self._ray.get(task)
        except self._ray.exceptions.RayError as lost:
            reason = str(lost).splitlines()[0]
            events, error = [Failed(song=str(job.song), message=f"{job.song}: its task was lost twice: {reason}")], None
        if error is not None:
            raise error
        for event in events:
            emit(event)


def _separate(shared: tuple[Work, Path], job: Job) -> tuple[list[Event], FrametxError | None]:
    """The task: one song, with models that stay loaded in the process."""
    work, folder = shared
    with suppress(OSError):  # not on this machine: then paths are absolute, or not found
        os.chdir(folder)
    if not work.setup.device.startswith("cuda"):
        torch.set_num_threads(1)  # of the CPUs it has one
    for place in {target.parent for target in job.targets.values()}:
        remove_abandoned_parts(place)
    events: list[Event] = []
    try:
        run_job(_separator(work.setup, os.getpid()), work, job, events.append)
    except FrametxError as error:  # the models cannot be loaded, for this song or any other
        return events, error
    return [event for event in events if not isinstance(event, Progress | Note)], None


@functools.lru_cache(maxsize=1)
def _separator(setup: Setup, pid: int) -> Separator:  # noqa: ARG001  (a forked process loads its own)
    return Separator(setup)
