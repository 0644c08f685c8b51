"""A trained classifier as a folder of safetensors and JSON, which anyone may open."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sentiment.model.classifier import SentimentClassifier
from sentiment.model.rebuild import rebuild
from sentiment.predict.saved import saved_data
from sentiment.predict.saved_classifier import SavedClassifier, not_finite
from sentiment.runtime.errors import InputError, first_words
from sentiment.runtime.files import replaced_when_whole
from sentiment.runtime.run_folder import PUBLISHED_FILES

_FORMAT = 1  # counts up when older versions could misread what is written
_WEIGHTS, _CONFIG, _VOCABULARY = PUBLISHED_FILES


def write_published(folder: Path, saved: SavedClassifier) -> None:
    """Write a classifier into a folder, in place of what it held of one.

    Args:
        folder: made if it does not exist.
        saved: the classifier.
    """
    from safetensors.numpy import save

    classifier = saved.classifier
    if isinstance(classifier, SentimentClassifier):
        kind = "network"
        arrays = {name: weight.numpy() for name, weight in classifier.state_dict().items()}
    else:
        kind, arrays = "ngrams", classifier.arrays()
    data = asdict(saved.data)
    vocabulary = data.pop("vocabulary")
    del data["train_digests"]  # of no use to others
    config = {
        "library": "sentiment",
        "format": _FORMAT,
        "kind": kind,
        "settings": classifier.settings,
        "data": data,
        "run": saved.run,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replaced_when_whole(folder / _WEIGHTS) as part:
        part.write_bytes(save({name: array.copy() for name, array in arrays.items()}))
    for name, value in ((_VOCABULARY, vocabulary), (_CONFIG, config)):
        with replaced_when_whole(folder / name) as part:
            part.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def read_published(folder: Path) -> SavedClassifier:
    """Rebuild the classifier of ``write_published``, without running any code.

    Raises:
        InputError: a file is damaged, or was written by a later version.
    """
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        written = config["format"]
        if isinstance(written, int) and written > _FORMAT:
            raise InputError(
                f"{folder}: written by a later version (format {written}; this version reads up to"
                f" {_FORMAT}); install a newer sentiment"
            )
        return _rebuilt(folder, config)
    except InputError:
        raise
    except Exception as error:  # made-up files make safetensors, torch and NumPy fail in any way
        raise InputError(
            f"{folder}: cannot be opened as a published classifier ({first_words(error)}); get its"
            " files again"
        ) from error


def _rebuilt(folder: Path, config: dict[str, Any]) -> SavedClassifier:
    vocabulary = json.loads((folder / _VOCABULARY).read_text(encoding="utf-8"))
    found = {**config["data"], "vocabulary": vocabulary}
    data = saved_data(found)
    classifier: Any
    if config["kind"] == "network":
        from safetensors.torch import load_file

        weights = load_file(folder / _WEIGHTS)
        if diverged := not_finite(weights):
            raise ValueError(f"the weights {diverged!r} are not finite")
        classifier = rebuild(SentimentClassifier, config["settings"], weights)
    else:
        from safetensors.numpy import load_file as load_arrays

        from sentiment.predict.ngram_classifier import NgramClassifier

        classifier = NgramClassifier.from_arrays(load_arrays(folder / _WEIGHTS), config["settings"])
    return SavedClassifier(classifier, data, config.get("run", {}))
