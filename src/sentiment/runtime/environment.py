"""The machine on which a result is made, and how a process is set up to make it.

Imports torch only when it is used, because programs start without it.
"""

import ctypes
import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import sentiment
from sentiment.runtime.errors import InputError, first_words

if TYPE_CHECKING:
    import torch


def device_name(device: "torch.device", threads: int | None = None) -> str:
    """The type of a device, its model, and on a CPU the threads; None for those of torch."""
    import torch

    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    threads = threads or torch.get_num_threads()
    return f"{device.type}: {name}, {threads} thread{'' if threads == 1 else 's'}"


def require_device(name: str) -> None:
    """Refuse a device that torch does not know or that cannot be used here.

    Raises:
        InputError: the device cannot be used; the message says why, and which ones can.
    """
    import torch

    try:
        torch.device(name)
    except RuntimeError as error:
        cuda = " (a GPU of NVIDIA is cuda, or cuda:1)" if name.startswith("gpu") else ""
        raise InputError(f"device {name!r} is unknown{cuda}; choose {_devices_here()}") from error
    try:
        torch.zeros(1, device=name).tolist()
    except Exception as error:  # each kind of device raises another exception when it is missing
        reason = first_words(error).split(". ")[0]
        raise InputError(
            f"device {name!r} cannot be used here ({reason}); choose {_devices_here()}"
        ) from error


def _devices_here() -> str:
    import torch

    mps = ["mps"] if torch.backends.mps.is_available() else []
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return " or ".join(["cpu", *(cuda if len(cuda) != 1 else ["cuda"]), *mps])


def require_memory(what: str, needed: int) -> None:
    """Refuse what does not fit into the memory of this machine, where that is known.

    Args:
        what: the settings that decide it.
        needed: bytes.

    Raises:
        InputError: more memory is needed than there is; the message has both sizes.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on this system
        return
    if needed > memory:
        raise InputError(
            f"config: {what}: needs {_size(needed)} of memory, this machine has {_size(memory)};"
            " lower it"
        )


def _size(count: float) -> str:
    units = iter(("bytes", "kB", "MB", "GB", "TB", "PB", "EB"))
    unit = next(units)
    for larger in units:
        if count < 1000:
            break
        count, unit = count / 1000, larger
    return f"{count:,.0f} {unit}"


def prepare_process() -> None:
    """Set up a process that trains; a launcher's processes need it as the first one does."""
    compute_fast()
    end_in_order()


def compute_fast() -> None:
    """Set up memory and threads of a process that trains, but not how it ends."""
    keep_freed_memory()
    limit_threads()


def end_in_order() -> None:
    """Let SIGTERM raise SystemExit, so that no file is left half-made."""
    logging.raiseExceptions = False  # a reader that closes its pipe does not fill stderr
    if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def limit_threads() -> None:
    """Compute in no more threads than a container leaves cores, unless `OMP_NUM_THREADS` is set.

    OpenMP starts one for each core of the machine, whatever the container's CPU quota.
    """
    import torch
    from joblib import cpu_count  # respects quotas, as Python's own does not

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), cpu_count()))


def available_cores() -> int:
    """How many cores this process may use, by its CPU affinity and the limits of its container."""
    from joblib import cpu_count  # Python's own would count all cores of the machine

    return int(cpu_count())


def keep_freed_memory() -> None:
    """Keep freed memory in this process for the next batch, where the C library is glibc's.

    glibc takes each large tensor from the system and returns it when it is freed, and the system
    clears each page when it is first used again: up to half the time of a training on a CPU.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_max = -1, -4  # see mallopt(3)
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)


def program_command(program: str, *arguments: str) -> str:
    """The command line of one of our programs, quoted for a shell.

    The program is named as the running one was: by the console script ``sentiment`` or
    ``sentiment-train``, or as a module that Python runs.

    Args:
        program: the name of its module, such as ``sentiment.train``.
        arguments: its arguments.
    """
    called, name = Path(sys.argv[0]), program.removeprefix("sentiment.")
    is_script = called.suffix in ("", ".exe")
    if is_script and called.stem == "sentiment":
        words = [_as_typed(called), name]
    elif is_script and called.stem.startswith("sentiment-"):
        words = [_as_typed(called.with_name(f"sentiment-{name}{called.suffix}"))]
    else:
        words = [_as_typed(Path(sys.executable), "python"), "-m", program]
    return shlex.join([*words, *arguments])


def _as_typed(own: Path, name: str | None = None) -> str:
    """The name of a program that a shell finds, unless that is another one: then its path."""
    name = name or own.stem
    found = shutil.which(name)
    if found is not None and Path(found).parent == own.parent:
        return name
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def versions() -> dict[str, str]:
    """The version of each package that results depend on."""
    packages = ("torch", "lightning", "torchmetrics", "torchtext", "spacy", "numpy", "pandas")
    return {
        "sentiment": sentiment.__version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }
