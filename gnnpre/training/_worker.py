"""A process that another one starts to share its training: ``python -m gnnpre.training._worker``.

Its arguments are the folder with the work, the number of the process, the number of all processes,
and the port of the store to meet at.
"""

import os
import shutil
import signal
import sys
import threading
import traceback
from dataclasses import replace
from pathlib import Path

import torch.distributed as dist

from ._launch import closing
from ._ranks import Ranks, process_timeout
from ._trainer import take_part
from ._work import TrainingWork
from ._workers import backend_of, device_of

__all__ = ["main"]


def main() -> None:
    """Take part in a training until it ends."""
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    _end_with_parent(folder)
    # Ctrl-C reaches all processes of a terminal; the one that leads decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _run(folder, rank, n_processes=int(sys.argv[3]), port=int(sys.argv[4]))
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        (folder / f"error-{rank}.txt").write_text(f"{text}\n{type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)  # connections and maps of files need no farewell


def _run(folder: Path, rank: int, n_processes: int, port: int) -> None:
    work = TrainingWork.load(folder)
    settings = replace(work.settings, device=device_of(work.settings, rank), verbose=0)
    store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=process_timeout())
    store.set(f"ready-{rank}", "")
    dist.init_process_group(
        backend_of(settings),
        store=store,
        rank=rank,
        world_size=n_processes,
        timeout=process_timeout(),
    )
    with closing(Ranks()) as ranks:
        take_part(replace(work, settings=settings), ranks)


def _end_with_parent(folder: Path) -> None:
    """End this process, and remove its files, when the process that started it is gone."""

    def watch() -> None:
        sys.stdin.buffer.read()  # returns when the other end of the pipe closes
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
