"""What the data module refuses before it reads anything. All of it raises ``InputError``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sentiment.data.dataset import KEEP
from sentiment.runtime.errors import InputError, as_typed


def check_files(files: Mapping[str, str | None], unlabeled: object = None) -> list[str]:
    """Refuse files that contradict each other, and give those without labels as a list."""
    listed = [unlabeled] if isinstance(unlabeled, str) else unlabeled or []
    if not (isinstance(listed, list | tuple) and all(isinstance(path, str) for path in listed)):
        raise InputError(
            f"data.unlabeled_csv={unlabeled}: give a file, or several as"
            " 'data.unlabeled_csv=[FILE,FILE]'"
        )
    csv, train_csv = files["csv"], files["train_csv"]
    if (csv is None) == (train_csv is None):
        raise InputError(
            f"data.csv={as_typed(csv)} and data.train_csv={as_typed(train_csv)}: give one of the"
            " two, a file to split or a file for training"
        )
    if csv is not None and (files["val_csv"] is not None or files["test_csv"] is not None):
        raise InputError(
            "data.csv is split into training, validation and test; with data.val_csv or"
            " data.test_csv, give data.train_csv instead"
        )
    given = [Path(path).resolve() for path in files.values() if path is not None]
    if twice := [str(path) for path in given if given.count(path) > 1]:
        raise InputError(f"{twice[0]}: is given for two splits; each needs a file of its own")
    given += [Path(path).resolve() for path in listed]
    if twice := [str(path) for path in given if given.count(path) > 1]:
        raise InputError(f"{twice[0]}: is given twice; take it out of data.unlabeled_csv")
    return list(listed)


def check_choices(
    *, keep: str, labels: Sequence[str | None] | None, label_names: Sequence[str | None] | None
) -> tuple[str, ...] | None:
    """Refuse an unknown way to cut, lists within lists, and names that stand twice or are null.

    Returns the names.
    """
    if keep not in KEEP:
        raise InputError(f"data.keep={keep!r}: choose one of {', '.join(KEEP)}")
    for key, given in (("labels", labels), ("label_names", label_names)):
        if any(isinstance(label, Sequence) and not isinstance(label, str) for label in given or ()):
            raise InputError(f"data.{key}={given}: give one list, such as 'data.{key}=[a,b]'")
    if label_names is None:
        return None
    names = tuple(str(name) for name in label_names if name is not None)
    if len(names) < len(label_names):
        raise InputError(
            "data.label_names: null is no name; a label that is called so needs quotes:"
            " 'data.label_names=[\"null\",...]'"
        )
    if len(set(names)) < len(names):
        raise InputError(f"data.label_names={list(names)}: a name stands twice")
    return names


def check_sizes(**sizes: int | None) -> None:
    """Refuse sizes below 1, and batches without any limit."""
    if sizes["batch_size"] is None and sizes["tokens_per_batch"] is None:
        raise InputError("data.batch_size and data.tokens_per_batch are both null: set one")
    for name, value in sizes.items():
        if value is not None and value < 1:
            raise InputError(f"data.{name}={value}: must be 1 or more")


def check_shares(**shares: float) -> None:
    """Refuse shares that leave nothing."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise InputError(
                f"data.{name}={share}: must lie between 0 and 1 (the share that is split off)"
            )
