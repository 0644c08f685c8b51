"""Run folders, which hold checkpoints and results: find one, and refuse one that is in use."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sentiment.runtime.distributed import rank
from sentiment.runtime.errors import InputError

NO_CHECKPOINT = (
    "no such checkpoint; a training writes checkpoints/best.ckpt and last.ckpt into its run folder"
)

PUBLISHED_FILES = ("model.safetensors", "config.json", "vocabulary.json")
STOPPED_MARK = ".stopped"  # a file in the folder of a run that was stopped


def mark_stopped(folder: Path) -> None:
    """Mark the folder of a run that was stopped, which then does not count as failed.

    Rank 0 does it. A folder that does not exist yet, or cannot be written to, remains unmarked.
    """
    if rank() == 0:
        with suppress(OSError):
            (folder / STOPPED_MARK).touch()


def unmark_stopped(folder: Path) -> None:
    """Remove the mark of ``mark_stopped``, because the run continues. Rank 0 does it."""
    if rank() == 0:
        (folder / STOPPED_MARK).unlink(missing_ok=True)


@contextmanager
def marked_if_stopped(folder: Path) -> Iterator[None]:
    """Mark the folder of a run that Ctrl-C stops, until it is run again."""
    unmark_stopped(folder)
    try:
        yield
    except KeyboardInterrupt:
        mark_stopped(folder)
        raise


def was_stopped(folder: Path) -> bool:
    """Whether the run of a folder was stopped, and has not gone on since."""
    return (folder / STOPPED_MARK).exists()


def run_folder(path: str | Path) -> Path | None:
    """The run folder that a path is, or in whose ``checkpoints`` it lies; None of other paths."""
    path = Path(path).resolve()
    if (path / "checkpoints").is_dir():
        return path
    folder = path.parent
    return folder.parent if folder.name == "checkpoints" and folder.is_dir() else None


def config_folder(folder: Path) -> Path:
    """The folder with the config of a run: the baselines of one command share that above theirs."""
    return folder if (folder / ".hydra").is_dir() else folder.parent


def last_checkpoint(folder: Path) -> Path:
    """Where the training of a run folder saves its state, to be resumed from."""
    return folder / "checkpoints" / "last.ckpt"


def best_checkpoint(path: str | Path) -> Path:
    """The best checkpoint of a run folder; any other path unchanged."""
    path = Path(path)
    for best in (path / "checkpoints" / "best.ckpt", path / "best.ckpt"):
        with suppress(OSError, ValueError):  # too long for a path, or not allowed in one
            if best.is_file():
                return best
    return path


def is_published(path: str | Path) -> bool:
    """Whether a path is a folder that ``sentiment.publish`` wrote."""
    with suppress(OSError, ValueError):
        return all((Path(path) / name).is_file() for name in PUBLISHED_FILES)
    return False


def holds_results(folder: Path) -> bool:
    """Whether a folder holds the results of a run or, in its subfolders, of baselines."""
    # A run of a sweep lies in a subfolder, too, but has a config of its own.
    below = (path.parent for path in folder.glob("*/results.json"))
    ended = (folder / "results.json").exists()
    return ended or any(not (each / ".hydra").is_dir() for each in below)


def is_used(folder: Path) -> bool:
    """Whether a folder holds checkpoints or results, which a new run would overwrite."""
    return any((folder / "checkpoints").glob("*.ckpt")) or holds_results(folder)


def check_unused(folder: Path, *, resumable: bool = False) -> None:
    """Raise an InputError if a folder holds checkpoints or results already.

    Args:
        folder: the run folder.
        resumable: whether the program can resume a training, which the message then suggests.
    """
    if resumable and last_checkpoint(folder).exists():
        raise InputError(
            f"hydra.run.dir={folder}: holds a training already; add ckpt_path=auto to resume it,"
            " or give another folder"
        )
    if is_used(folder):
        raise InputError(
            f"{folder}: holds a run already, which would be overwritten; give another hydra.run.dir"
        )
