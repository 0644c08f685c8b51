"""Run folders: where checkpoints and results are, and whether a folder is used."""

from pathlib import Path

from sentiment.runtime.errors import InputError


def run_folder(checkpoint: str | Path) -> Path | None:
    """The run folder that a checkpoint lies in, or None where it lies in none (as ``auto``)."""
    folder = Path(checkpoint).resolve().parent
    return folder.parent if folder.name == "checkpoints" and folder.is_dir() else None


def holds_results(folder: Path) -> bool:
    """Whether a run has ended here, or baselines whose config is here."""
    below = (path.parent for path in folder.glob("*/results.json"))
    ended = (folder / "results.json").exists()
    return ended or any(not (place / ".hydra").is_dir() for place in below)


def is_used(folder: Path) -> bool:
    """Whether a folder holds checkpoints or results, which a new run would overwrite."""
    return any((folder / "checkpoints").glob("*.ckpt")) or holds_results(folder)


def check_unused(folder: Path, *, resumable: bool = False) -> None:
    """Refuse a run folder that is used.

    Args:
        folder: the run folder.
        resumable: whether the program can go on with a training.

    Raises:
        InputError: it is.
    """
    if resumable and (folder / "checkpoints" / "last.ckpt").exists():
        raise InputError(
            f"hydra.run.dir={folder}: holds a training already; add ckpt_path=auto to go on with"
            " it, or give another folder"
        )
    if is_used(folder):
        raise InputError(
            f"{folder}: holds a run already, which would be overwritten; give another hydra.run.dir"
        )
