"""Several processes over the songs of a batch: one a GPU, or several on a CPU.

Every worker loads the models once and takes a song whenever it has finished one. A worker that dies (out of memory, a
crash in a library) takes no more with it than its song, which another one tries once more. One that dies before it has
the models began no song: the others go on without it, or else it would fail song after song.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING

import torch

from frametx.audio.partfile import remove_abandoned_parts
from frametx.errors import FrametxError
from frametx.events import Event, Failed, Note
from frametx.job import Emit, Job, Work, run_job
from frametx.process import die_with_parent
from frametx.separator import Separator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from frametx.setup import Setup

ATTEMPTS = 2
_PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    setup: Setup
    job: Job | None
    loaded: bool = False


class Workers:
    """Does jobs in processes of their own.

    Args:
        setups: One for each worker.
        threads: Threads for each on a CPU; None: this process's threads, divided.
    """

    longest_first = True

    def __init__(self, setups: Sequence[Setup], *, threads: int | None = None) -> None:
        self._setups = setups
        self._threads = threads or max(1, torch.get_num_threads() // len(setups))
        self._context = multiprocessing.get_context("spawn")  # a forked CUDA or OpenMP doesn't work
        self._workers: list[_Worker] = []
        self._again: deque[Job] = deque()
        self._n_attempts: dict[str, int] = {}

    def run(self, work: Work, jobs: Iterator[Job], emit: Emit) -> None:
        """Do every job, each in the first worker that is free.

        Raises:
            FrametxError: A worker could not load the models, so none can; or all of them died of it.
        """
        try:
            for setup in self._setups:
                self._start(work, setup, self._next(jobs))
            while self._workers:
                self._listen(work, jobs, emit)
        finally:
            self._end_all()

    def _start(self, work: Work, setup: Setup, job: Job | None) -> None:
        if job is None:
            return
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, work, setup, self._threads), daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, setup, job))

    def _next(self, jobs: Iterator[Job]) -> Job | None:
        return self._again.popleft() if self._again else next(jobs, None)

    def _give(self, worker: _Worker, job: Job | None) -> None:
        worker.job = job
        with contextlib.suppress(OSError):  # it died meanwhile, which will be seen
            worker.pipe.send(job)

    def _listen(self, work: Work, jobs: Iterator[Job], emit: Emit) -> None:
        """Take one message from every worker that has one."""
        ready = connection.wait([worker.pipe for worker in self._workers])
        for worker in [worker for worker in self._workers if worker.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._bury(worker, work, jobs, emit)
                continue
            if isinstance(message, FrametxError):
                raise message
            if isinstance(message, Event):
                emit(message)
            elif worker.loaded:
                self._give(worker, self._next(jobs))
            else:
                worker.loaded = True
                self._give(worker, worker.job)

    def _bury(self, worker: _Worker, work: Work, jobs: Iterator[Job], emit: Emit) -> None:
        """Clean up after a worker that has ended, and go on with another one."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        job = worker.job
        if job is None:  # it was sent home; meanwhile another one may have left a song
            self._start(work, worker.setup, self._next(jobs))
            return
        if not worker.loaded:
            self._again.append(job)
            self._go_on_without(worker, emit)
            return
        for folder in {target.parent for target in job.targets.values()}:
            remove_abandoned_parts(folder)
        song = str(job.song)
        self._n_attempts[song] = self._n_attempts.get(song, 0) + 1
        if self._n_attempts[song] < ATTEMPTS:
            self._again.append(job)
        else:
            emit(
                Failed(
                    song=song,
                    message=f"{song}: the process that separated it died twice ({_ending(worker.process.exitcode)})",
                    hint="if memory ran out, use fewer workers (-j) or a smaller --crop",
                )
            )
        self._start(work, worker.setup, self._next(jobs))

    def _go_on_without(self, worker: _Worker, emit: Emit) -> None:
        """Say that a worker died before it had the models.

        Raises:
            FrametxError: It was the last.
        """
        what = f"died while it loaded the models ({_ending(worker.process.exitcode)})"
        if not self._workers:
            raise FrametxError(f"a worker process {what}", "if memory ran out, use fewer workers (-j) or another model")
        emit(Note(message=f"a worker process {what}; the work goes on with {len(self._workers)}"))

    def _end_all(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            for folder in {target.parent for target in worker.job.targets.values()} if worker.job else ():
                remove_abandoned_parts(folder)
            worker.pipe.close()
        self._workers.clear()


def _work(pipe: Connection, work: Work, setup: Setup, threads: int) -> None:
    """What a worker does: songs, until there are no more. It sends None when it is free to begin one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with_parent()  # a later run would otherwise meet this one at its files
    torch.set_num_threads(threads)
    try:
        separator = Separator(setup)
        pipe.send(None)
        while (job := pipe.recv()) is not None:
            run_job(separator, work, job, pipe.send)
            pipe.send(None)
    except FrametxError as error:
        pipe.send(error)
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # asked to end, or there is nobody left to work for
    finally:
        pipe.close()


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"by signal {signal.Signals(-exit_code).name}"
    return f"with exit code {exit_code}"
