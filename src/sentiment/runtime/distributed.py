"""The processes of one training: which of them this is, and what all of them agree on.

Knows torch, which it imports when processes have joined, and the environment variables by which
Lightning, torchrun and srun number them.
"""

import functools
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NoReturn

from sentiment.runtime.errors import InputError
from sentiment.runtime.program import write_error

_PARENT = "SENTIMENT_PARENT"  # the process that has started this one by Lightning

_GRACE = 10.0  # seconds to end in order

# Words in the messages of gloo, NCCL and torch's store about a lost connection.
_LOST = (
    "Connection closed", "Connection reset", "Connection was likely closed", "Broken pipe",
    "remote process exited", "ncclRemoteError", "communicator was aborted",
)  # fmt: skip


class ProcessLost(Exception):  # noqa: N818 (its name says what happened)
    """Another process of this training has ended early."""


def in_process_group() -> bool:
    """Whether this process has joined a process group of torch."""
    if "torch.distributed" not in sys.modules:  # a program that starts needs no torch for this
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The rank of this process among all that train together, from 0."""
    if in_process_group():
        from torch import distributed

        return distributed.get_rank()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _number("RANK")
    if external_world_size() is not None:
        return _number("SLURM_PROCID")
    return _number("LOCAL_RANK") if _PARENT in os.environ else 0


def external_world_size() -> int | None:
    """The number of processes that torchrun or srun has started; None if neither has."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _number("WORLD_SIZE")
    if "SLURM_NTASKS" in os.environ:
        interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
        return None if interactive else _number("SLURM_NTASKS")
    return None


def started_by_another_rank() -> bool:
    """Whether another process of this training has started this one."""
    return os.environ.get(_PARENT) == str(os.getppid())


def is_reporting_rank() -> bool:
    """Whether this process prints errors: in a process group, rank 0 alone.

    Before they join, the first process on each machine does, and so does one that another process
    has started, whose errors no other can have found.
    """
    if in_process_group() or rank() == 0:
        return rank() == 0
    return started_by_another_rank() or _number("LOCAL_RANK", "SLURM_LOCALID") == 0


def is_first_survivor() -> bool:
    """Whether this process, as the first that still runs, prints that another one is lost."""
    if rank() == 0:
        return True
    if _PARENT in os.environ and external_world_size() is None:
        time.sleep(1)  # a process that is killed closes its connections before it is gone
        return not started_by_another_rank()
    return _number("LOCAL_RANK", "SLURM_LOCALID") == 0


def _number(*names: str) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def announce_parent() -> None:
    """Let processes that this one starts know its process id, so that they end with it."""
    if not started_by_another_rank():
        os.environ[_PARENT] = str(os.getpid())


def end_with_parent() -> None:
    """End this process when the one has ended that started it (see ``announce_parent``)."""

    def watch() -> None:
        while started_by_another_rank():
            time.sleep(1)
        time.sleep(_GRACE)  # a lost connection is reported before that
        write_error("the first process of this training has ended; so does this one")
        os._exit(1)

    if started_by_another_rank():
        threading.Thread(target=watch, daemon=True).start()


def gather(value: Any) -> list[Any]:
    """The values of all processes, by rank; every process must call this."""
    if not in_process_group():
        return [value]
    from torch import distributed

    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def all_reduce_max(value: int) -> int:
    """The largest value of all processes; every process must call this.

    The values are exchanged between CPUs, so this does not wait for a device.
    """
    if not in_process_group():
        return value
    import torch
    from torch import distributed

    number = torch.tensor(value)
    distributed.all_reduce(number, distributed.ReduceOp.MAX, group=_between_cpus())
    return int(number)


@functools.cache
def _between_cpus() -> Any:
    from torch import distributed

    gloo = distributed.get_backend() == "gloo"
    return distributed.group.WORLD if gloo else distributed.new_group(backend="gloo")


def raise_together(problem: InputError | None) -> None:
    """Raise the problem of one process in all of them; every process must call this.

    Raises:
        InputError: the problem of the first process that has one.
    """
    found = gather(problem and (socket.gethostname(), str(problem)))
    for number, problem_there in enumerate(found):
        if problem_there is not None:
            host, message = problem_there
            raise InputError(f"process {number} on {host}: {message}" if number else message)


def leave_group() -> None:
    """Leave the process group, at an end that all processes have agreed on."""
    if in_process_group():
        from torch import distributed

        with suppress(RuntimeError):
            distributed.barrier(async_op=True).wait(timedelta(seconds=_GRACE))
            distributed.destroy_process_group()
        _between_cpus.cache_clear()


def exit_together(code: int) -> NoReturn:
    """Leave the process group and exit.

    A process that another rank has started exits with code 0, or Lightning would kill the others.
    """
    agreed = in_process_group()
    leave_group()
    sys.exit(0 if started_by_another_rank() and agreed else code)


@contextmanager
def translate_lost_connection() -> Iterator[None]:
    """Raise the exceptions of any library about a lost connection as ProcessLost.

    Raises:
        ProcessLost: the connection to another process is lost.
    """
    try:
        yield
    except RuntimeError as error:
        if in_process_group() and any(mark in str(error) for mark in _LOST):
            raise ProcessLost from error
        raise
