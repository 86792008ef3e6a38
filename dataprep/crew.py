"""Worker processes that write shards. They end with their parent, even one killed -9."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from dataprep.manifest import DataError
from dataprep.plan import Plan
from dataprep.shard import Job

# Spawned, not forked: a fork copies locks that a thread of the parent may hold.
CONTEXT = multiprocessing.get_context("spawn")


def write_shards(
    job: Job, plan: Plan, shards: Sequence[int], workers: int
) -> Iterator[tuple[int, int]]:
    """Write the shards, in any order; yield the (entries, bytes) of each as it is finished.

    The first error stops all; ChildProcessError where a worker dies.
    """
    workers = min(workers, len(shards))
    if workers <= 1:
        for shard in shards:
            part = plan.part(shard)
            yield len(part), job.write(shard, part)
        return
    crew = [_Worker(job) for _ in range(workers)]
    try:
        yield from _share_out(crew, plan, iter(shards))
    finally:
        for worker in crew:
            worker.stop()


def _share_out(crew: list[_Worker], plan: Plan, shards: Iterator[int]) -> Iterator[tuple[int, int]]:
    busy: dict[Any, tuple[_Worker, int]] = {}

    def give(worker: _Worker) -> None:
        shard = next(shards, None)
        if shard is not None:
            part = plan.part(shard)
            worker.pipe.send((shard, part))
            busy[worker.pipe] = worker, len(part)

    for worker in crew:
        give(worker)
    while busy:
        for pipe in wait(list(busy)):
            worker, entries = busy.pop(pipe)
            size_bytes = worker.answer()
            give(worker)
            yield entries, size_bytes


class _Worker:
    def __init__(self, job: Job) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_work, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that a dead worker shows as the end of the pipe

    def answer(self) -> int:
        """Return the bytes of the shard just written, or raise what the worker raised."""
        try:
            answer: int | Exception = self.pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            why = "out of memory? try fewer --workers" if code == -signal.SIGKILL else "see above"
            raise ChildProcessError(
                f"a worker process died with exit code {code} ({why}); finished shards stay"
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _work(job: Job, pipe: Connection[Any, Any]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C for all
    cv2.setNumThreads(1)  # one process a core is parallel enough
    while True:
        try:
            shard, part = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(job.write(shard, part))
        except (DataError, OSError) as error:
            pipe.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
