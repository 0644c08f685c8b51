"""The model card of a classifier: what it is, how good it is, and how it was made."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sentiment.report.confidence import confidence_interval
from sentiment.report.tables import (
    MISSING,
    format_count,
    format_duration,
    format_percent,
    format_size,
    is_number,
)
from sentiment.runtime.errors import listed

if TYPE_CHECKING:
    from sentiment.predict.saved_classifier import SavedClassifier

_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn": "tanh RNN"}


def model_card(
    name: str,
    saved: "SavedClassifier",
    results: Mapping[str, Any],
    overrides: Sequence[str],
    license_name: str | None = None,
    checkpoint: str | None = None,
) -> str:
    """Write a model card in Markdown, with the metadata that the Hugging Face Hub reads.

    Args:
        name: of the classifier.
        saved: the classifier.
        results: the content of its run's ``results.json``; empty if unknown.
        overrides: what another run with the same settings needs; empty if unknown.
        license_name: an identifier of a license, such as ``mit``; None leaves it out.
        checkpoint: the path that opens the classifier; None for a published folder that is called
            as the classifier.
    """
    parts = [
        f"# {name}",
        summary(saved),
        _use(name, checkpoint),
        *(_metrics(results) if "test/accuracy" in results else [_NO_TEST]),
        _data(saved, results),
        _training(saved, results, overrides),
        _limits(saved, results),
    ]
    return _metadata(name, saved, results, license_name) + "\n\n".join(filter(None, parts)) + "\n"


_NO_TEST = "## Results\n\nThis classifier was published without the results of a test."


def _metadata(
    name: str, saved: "SavedClassifier", results: Mapping[str, Any], license_name: str | None
) -> str:
    """The front matter in YAML."""
    metrics = [
        {"type": kind, "value": round(float(value), 4)}
        for kind, key in (("accuracy", "test/accuracy"), ("f1", "test/f1"))
        if is_number(value := results.get(key))
    ]
    task = {"type": "text-classification"}
    data_set = {"name": "held-out test reviews", "type": "other"}
    index = [{"name": name, "results": [{"task": task, "dataset": data_set, "metrics": metrics}]}]
    facts = {
        **({"license": license_name} if license_name else {}),
        "language": saved.data.tokenizer.language,
        "library_name": "sentiment",
        "pipeline_tag": "text-classification",
        "tags": ["sentiment-analysis", _kind(saved).lower().replace(" ", "-")],
        **({"model-index": index} if metrics else {}),
    }
    return f"---\n{yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)}---\n\n"


def _kind(saved: "SavedClassifier") -> str:
    settings = saved.classifier.settings
    if "weighting" in settings:
        return f"linear classifier of n-grams ({settings['weighting']})"
    direction = "bidirectional " if settings["bidirectional"] else ""
    return f"{direction}{_CELLS[settings['cell']]}"


def summary(saved: "SavedClassifier") -> str:
    """Say in a few sentences what a classifier is."""
    settings, data = saved.classifier.settings, saved.data
    classes = listed(data.labels, most=12)
    text = f"A {_kind(saved)} that classifies texts as one of {len(data.labels)} labels: {classes}."
    if "cell" in settings:
        text += (
            f" {settings['num_layers']} x {settings['hidden_size']} units, word vectors of"
            f" {settings['embedding_size']} values"
        )
        if settings["ngrams"]:
            text += f", features of n-grams of up to {settings['ngrams']} words"
        text += "."
    return text + f" Its vocabulary has {len(data.vocabulary):,} words."


def _use(name: str, checkpoint: str | None) -> str:
    path, kind = checkpoint or name.rpartition("/")[2], "file" if checkpoint else "folder"
    command = shlex.join(["python", "-m", "sentiment.predict", path])
    return f"""## Use

This {kind} is opened by the Python package `sentiment`, without running any code in it:

```
{command} "A joy from start to finish."
```

```python
from sentiment import Predictor

Predictor.load({json.dumps(path, ensure_ascii=False)})("A joy from start to finish.")
```"""


def _metrics(results: Mapping[str, Any]) -> Iterator[str]:
    """The sections about the test."""
    reviews = results.get("test_reviews")
    accuracy = format_percent(results["test/accuracy"])
    if is_number(reviews) and reviews:
        low, high = confidence_interval(results["test/accuracy"], int(reviews))
        accuracy += f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    rows = {
        "accuracy": accuracy,
        "always answering the most frequent label": format_percent(
            results.get("test/largest_class")
        ),
        "macro F1": format_percent(results.get("test/f1")),
        "calibration error (ECE)": format_percent(results.get("test/ece")),
    }
    baseline = results.get("baseline", {})
    if "test/accuracy" in baseline:
        rows["TF-IDF with logistic regression, the same splits"] = format_percent(
            baseline["test/accuracy"]
        )
    lines = [[name, value] for name, value in rows.items() if value != MISSING]
    heading = f"## Results\n\nOn {format_count(reviews)} test reviews that no training has read:"
    yield f"{heading}\n\n{_table(['metric', 'value'], lines)}"
    if by_class := results.get("test/by_class"):
        names = ("precision", "recall", "f1")
        lines = [
            [row["label"], *(format_percent(row[each]) for each in names), f"{row['reviews']:,}"]
            for row in by_class
        ]
        yield _table(["label", "precision", "recall", "F1", "reviews"], lines)
    if by_length := results.get("test/by_length"):
        lines = [
            [
                "{:,} to {:,}".format(*row["tokens"]),
                format_percent(row["accuracy"]),
                f"{row['reviews']:,}",
            ]
            for row in by_length
        ]
        yield _table(["tokens", "accuracy", "reviews"], lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def _data(saved: "SavedClassifier", results: Mapping[str, Any]) -> str:
    data, prints = saved.data, results.get("fingerprints") or {}
    lines = [
        f"- {data.train_reviews:,} training and {data.val_reviews:,} validation reviews;"
        f" {data.dropped_duplicates:,} repeated texts were left out.",
        f"- Tokens by spaCy's rules for `{data.tokenizer.language}`"
        f"{', in lower case' if data.tokenizer.lowercase else ''}"
        f"{f'; of a text, {data.max_length:,} tokens at most' if data.max_length else ''}.",
    ]
    if prints:
        shown = ", ".join(f"{name} `{value}`" for name, value in prints.items())
        lines.append(f"- Fingerprints of the reviews, whatever their order: {shown}.")
    return "## Data\n\n" + "\n".join(lines)


def _training(
    saved: "SavedClassifier", results: Mapping[str, Any], overrides: Sequence[str]
) -> str:
    lines = []
    if teachers := saved.data.teachers:
        lines.append(f"- trained on what {listed(teachers)} says of texts without labels, too")
    if is_number(results.get("parameters")):
        lines.append(f"- {format_size(results['parameters'])} parameters")
    if is_number(results.get("fit_seconds")):
        lines.append(
            f"- trained in {format_duration(results['fit_seconds'])} on"
            f" {results.get('device', 'an unknown device')}"
        )
    if saved.run.get("seed") is not None:
        lines.append(f"- seed {saved.run['seed']}")
    if versions := results.get("versions"):
        lines.append(f"- {', '.join(f'{name} {number}' for name, number in versions.items())}")
    text = "## Training\n\n" + "\n".join(lines)
    if given := [_without_folder(item) for item in overrides]:
        program = "baseline" if "weighting" in saved.classifier.settings else "train"
        command = shlex.join(["python", "-m", f"sentiment.{program}", *given])
        text += f"\n\nIt was trained by\n\n```\n{command}\n```"
    return text


def _without_folder(override: str) -> str:
    """A setting with the name of a file alone: a card shows no folders of a machine."""
    key, equals, value = override.partition("=")
    quote = "'" if value.endswith("'") else ""
    name = Path(value.strip("'")).name if value.strip("'").startswith(("/", "~", ".")) else ""
    return f"{key}{equals}{quote}{name}{quote}" if name else override


def _limits(saved: "SavedClassifier", results: Mapping[str, Any]) -> str:
    labels = listed(saved.data.labels, most=12)
    calibrated = float(saved.classifier.temperature) != 1
    lines = [
        f"- It answers {labels}, and nothing else, to any text, also to one of another kind.",
        "- The results are of texts from the same source as the training reviews. On others it will"
        " be less accurate: measure it with `python -m sentiment.evaluate`.",
        "- Words that are not in the vocabulary are all alike to it; predictions have the number of"
        " known words.",
        f"- Scores are probabilities{', calibrated' if calibrated else ', not calibrated'} on the"
        " validation reviews.",
        "- The vocabulary lists words of the training reviews, which may include names.",
    ]
    if any(name.startswith("abstain/") for name in saved.run):
        lines[0] += (
            " Where the score is below a threshold, which was chosen on the validation reviews, it"
            " abstains: `label` is null, and `abstained` true."
        )
    if results.get("limited"):
        lines.append("- Reviews were left out of the test by settings that limit batches.")
    return "## Limits\n\n" + "\n".join(lines)
