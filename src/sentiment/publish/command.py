"""Write a trained classifier as a folder to publish, with a model card; or push it to the Hub."""

import sys
from collections.abc import Sequence
from pathlib import Path

from sentiment.predict.hub import hub_package, local_checkpoint
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.program import ending_at_once, exit_on_input_error
from sentiment.runtime.run_folder import config_folder, is_published, run_folder


def publish(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    name: str | None = None,
    license_name: str | None = None,
) -> None:
    """Write a checkpoint as safetensors and JSON, with a model card, into a folder.

    Args:
        checkpoint: the file, or a run folder, of which the best checkpoint is published. What the
            card says of tests and training is from its run folder.
        folder: the folder to write; it may exist, if it holds nothing or an earlier publication.
        name: what the card calls the classifier; None takes the folder's name.
        license_name: an identifier of a license, such as ``mit``.

    Raises:
        InputError: the checkpoint cannot be opened, or the folder not be written.
    """
    from sentiment.predict.checkpoint import load_classifier
    from sentiment.predict.published import write_published
    from sentiment.report.card import model_card
    from sentiment.report.runs import read_run
    from sentiment.runtime.files import is_onnx, replaced_when_whole
    from sentiment.runtime.overrides import overrides_of_run, repeated_overrides

    folder, path = Path(folder), local_checkpoint(checkpoint)
    if folder.exists() and not (is_published(folder) or _is_empty(folder)):
        raise InputError(f"{folder}: holds other files; give a new folder")
    if is_onnx(path):
        raise InputError(f"{path}: an ONNX file; give the checkpoint that it was exported from")
    saved = load_classifier(path)
    home = run_folder(path)
    results = {} if home is None else read_run(home).results
    given = ([], []) if home is None else overrides_of_run(config_folder(home))
    card = model_card(name or folder.name, saved, results, repeated_overrides(*given), license_name)
    try:
        write_published(folder, saved)
        with replaced_when_whole(folder / "README.md") as part:
            part.write_text(card, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a published folder to the Hugging Face Hub; returns the name that loads it.

    Raises:
        InputError: the Hub refuses it, or cannot be reached.
    """
    hub = hub_package("--push")
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(repo_id=repository, folder_path=folder)
    except Exception as error:  # of the network, of HTTP, and of the package itself
        raise InputError(
            f"--push {repository}: {first_words(error)}; is HF_TOKEN set, or have you run"
            " `hf auth login`?"
        ) from error
    return f"hf:{repository}@{commit.oid}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: one line on standard output, or one line that says what is wrong."""
    parser = OneLineParser(
        "sentiment.publish",
        description="Write a trained checkpoint as a folder of safetensors and JSON with a model"
        " card, which others can open without trusting it.",
        epilog="Example: %(prog)s runs/mine published/reviews --license mit",
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint, or a run folder")
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument("--name", help="what the model card calls it; default: the folder's name")
    parser.add_argument("--license", metavar="ID", help="a license for the card, such as mit")
    parser.add_argument(
        "--push", metavar="USER/NAME", help="upload the folder to the Hugging Face Hub"
    )
    parser.add_argument("--private", action="store_true", help="push to a private repository")
    parsed = parser.parse_args(arguments)
    with exit_on_input_error():
        if parsed.push:
            hub_package("--push")  # before the slow imports
        with ending_at_once():
            import sentiment.predict.checkpoint  # noqa: F401 (torch is slow to import)
        earlier = ", in place of the earlier publication" if is_published(parsed.folder) else ""
        publish(
            parsed.checkpoint,
            parsed.folder,
            name=parsed.name or parsed.push,
            license_name=parsed.license,
        )
        line = f"wrote {parsed.folder}{earlier}; look at its README.md before you publish it"
        sys.stdout.write(f"{line}\n")
        if parsed.push:
            name = push(parsed.folder, parsed.push, private=parsed.private)
            sys.stdout.write(f"pushed; Predictor.load({name!r}) loads it\n")
