"""Measure trained checkpoints on a CSV file with labels.

Loads neither Hydra nor Lightning.
"""

if __name__ == "__main__":
    from sentiment.runtime.program import start

    start("sentiment.evaluate")  # before the slow imports

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sentiment import Command
from sentiment.predict.options import (
    FEW,
    add_checkpoint_options,
    add_csv_options,
    check_csv,
    csv_format_from,
    is_checkpoint,
    load_predictor,
    without_thresholds,
)
from sentiment.runtime.arguments import OneLineParser
from sentiment.runtime.environment import device_name, limit_threads, versions
from sentiment.runtime.errors import InputError, listed
from sentiment.runtime.files import is_onnx, is_table
from sentiment.runtime.program import ending_at_once, exit_on_input_error
from sentiment.runtime.progress_bar import progress_bar, write_note
from sentiment.runtime.run_folder import best_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sentiment.data.csv_format import CsvFormat
    from sentiment.data.reviews import ReviewChunk
    from sentiment.predict.logits import Floats
    from sentiment.predict.misclassified import Misclassified
    from sentiment.predict.predictor import Predictor


def evaluate(
    predictor: "Predictor",
    path: Path,
    csv_format: "CsvFormat",
    file_labels: Sequence[str] | None = None,
    errors: Path | None = None,
    calibrated_on: "npt.NDArray[np.int64] | None" = None,
) -> dict[str, Any]:
    """Test one classifier, or several together, on a file: keys as in ``results.json``.

    Args:
        predictor: the classifiers.
        path: the file.
        csv_format: how to read it.
        file_labels: the labels as the file has them, in the order of the classifier's; None is as
            in the training or its results.
        errors: a CSV file to write the misclassified reviews to, with the columns ``row`` (1 is the
            first row below the header), ``text``, ``label``, ``predicted_label`` and ``score``: the
            reviews with the highest score first.
        calibrated_on: digests of the reviews that the temperature was fitted to, to note those that
            are in the file.

    Raises:
        InputError: the file cannot be read, or has unknown labels; or ``errors`` cannot be written,
            or is one of the files that are read.
    """
    import numpy as np
    import torch

    from sentiment.data.reviews import output_separator
    from sentiment.model.metrics import Outcome, summarise_predictions
    from sentiment.predict.coverage import Coverage
    from sentiment.predict.csv_file import check_target
    from sentiment.predict.misclassified import written_misclassified
    from sentiment.report.results import metric_warnings, named_thresholds, outcome_results

    predictor.coverage = Coverage()
    if str(errors) == "-":
        raise InputError("--errors -: give a file; standard output is for the metrics")
    if errors is None:
        reviews = predict_labelled(predictor, path, csv_format, file_labels)
    else:
        check_target(path, errors, [member.path for member in predictor.members])
        separator = output_separator(path, errors, csv_format)
        with written_misclassified(errors, predictor.labels, separator) as wrong:
            reviews = predict_labelled(predictor, path, csv_format, file_labels, wrong)
        write_note(f"{wrong.count:,} misclassified reviews are in {errors}, the worst first")
    _note_facts(predictor, path, reviews)
    if known := int(_in_training(predictor, reviews).sum()):
        write_note(
            f"{path.name}: {known:,} of these reviews were in training: on new ones, metrics may be"
            " worse; with data.splits_dir=FOLDER a training writes its test reviews into a file"
        )
    fitted = np.array([], np.int64) if calibrated_on is None else calibrated_on
    if known := int(np.isin(reviews.digests, fitted).sum()):
        write_note(
            f"{path.name}: the temperature was fitted to {known:,} of these reviews: on new ones,"
            " loss and ECE may be worse; --calibrate val.csv, which a training writes into"
            " data.splits_dir, has none of the test"
        )
    members, labels = predictor.members, torch.from_numpy(reviews.labels)
    combined = torch.from_numpy(predictor.combine(reviews.logits))
    tested = {
        **summarise_predictions(combined, labels, "test/"),
        **outcome_results(
            Outcome.of(combined, labels, torch.from_numpy(reviews.lengths), predictor.thresholds),
            predictor.labels,
        ),
    }
    if predictor.thresholds is not None:
        named = named_thresholds(predictor.thresholds, predictor.labels)
        tested["abstain/thresholds"] = named
    for warning in metric_warnings(tested, training=False):
        write_note(warning)
    return {
        **tested,
        **(_facts_of_training(predictor) if len(members) == 1 else {}),
        "labels": predictor.labels,
        "test_reviews": len(labels),
        "fingerprints": {"test": reviews.fingerprint},
        "dropped_missing": reviews.missing,
        "parameters": sum(member.classifier.num_parameters for member in members),
        "device": device_name(
            torch.device(members[0].classifier.device), members[0].classifier.threads
        ),
        "versions": versions(),
        **({"temperature": predictor.temperature} if len(members) > 1 else {}),
        **({"members": _each_alone(predictor, reviews)} if len(members) > 1 else {}),
    }


class Calibration(NamedTuple):
    """A fitted temperature.

    Attributes:
        results: ``temperature``, the number of ``reviews``, and metrics by name, ``before`` and
            ``after``.
        digests: of the reviews that it was fitted to, as ``train_digests`` of a checkpoint.
    """

    results: dict[str, Any]
    digests: "npt.NDArray[np.int64]"


def calibrate(
    predictor: "Predictor",
    path: Path,
    csv_format: "CsvFormat",
    file_labels: Sequence[str] | None = None,
) -> Calibration:
    """Fit the temperature of a predictor's averaged probabilities to a file, and set it.

    Reviews that a classifier was trained on are left out: its scores are too high there. The
    predictor then has no thresholds, as they were chosen for other scores.

    Arguments as for ``evaluate``.

    Raises:
        InputError: see ``evaluate``; or no review is left.
    """
    import torch

    from sentiment.model.calibration import fit_temperature
    from sentiment.model.metrics import summarise_predictions
    from sentiment.predict.coverage import Coverage

    predictor.coverage = Coverage()
    reviews = predict_labelled(predictor, path, csv_format, file_labels)
    _note_facts(predictor, path, reviews)
    new = torch.from_numpy(~_in_training(predictor, reviews))
    if known := int((~new).sum()):
        left_out = f"{known:,} of {len(new):,} reviews were in training"
        if known == len(new):
            raise InputError(
                f"{path}: {left_out}, where scores are too high to calibrate by; give others, such"
                " as val.csv, which a training writes into data.splits_dir"
            )
        write_note(f"{path.name}: {left_out} and are left out, as scores are too high there")
    predictor.temperature, predictor.thresholds = 1.0, None
    labels = torch.from_numpy(reviews.labels)[new]
    if len(labels) < FEW:
        write_note(f"{path.name}: {len(labels)} reviews are few: the temperature is uncertain")
    combined = torch.from_numpy(predictor.combine(reviews.logits))[new]
    predictor.temperature = fit_temperature(combined, labels)
    results = {
        "temperature": predictor.temperature,
        "reviews": len(labels),
        "before": summarise_predictions(combined, labels, ""),
        "after": summarise_predictions(combined / predictor.temperature, labels, ""),
    }
    return Calibration(results, reviews.digests[new.numpy()])


def _note_facts(predictor: "Predictor", path: Path, reviews: "LabelledReviews") -> None:
    """Note what a file lacks, and how well it suits the classifiers."""
    present, missing = set(reviews.labels.tolist()), reviews.missing
    absent = [name for index, name in enumerate(predictor.labels) if index not in present]
    if absent:
        write_note(f"{path.name}: no row has the label {listed(absent)}; F1 and AUROC leave it out")
    left_out = f", {missing:,} of them left out for a missing text or label" if missing else ""
    write_note(f"{path.name}: {len(reviews.labels) + missing:,} rows read{left_out}")
    if doubt := predictor.coverage.doubt:
        write_note(doubt)
    silent = [str(each.path) for each in predictor.members if each.data.train_digests is None]
    if silent:
        write_note(
            f"{path.name}: {listed(silent)} may have learned from these reviews, which would make"
            " metrics too good: ONNX files, published folders and old checkpoints do not say"
        )


def _in_training(predictor: "Predictor", reviews: "LabelledReviews") -> "npt.NDArray[np.bool_]":
    """Which reviews a classifier was trained on, (reviews,), as far as they say."""
    import numpy as np

    known = np.zeros(len(reviews.labels), bool)
    for member in predictor.members:
        if member.data.train_digests is not None:
            known |= np.isin(reviews.digests, member.data.train_digests)
    return known


def _facts_of_training(predictor: "Predictor") -> dict[str, Any]:
    """The facts about its training that a single checkpoint holds."""
    (member,) = predictor.members
    run, data = member.run, member.data
    return {
        **{name: value for name, value in run.items() if name.startswith("val/")},
        "temperature": member.classifier.temperature * predictor.temperature,
        "vocabulary_size": len(data.vocabulary),
        "vector_coverage": run.get("vector_coverage"),
        "train_reviews": data.train_reviews,
        "val_reviews": data.val_reviews,
        "dropped_duplicates": data.dropped_duplicates,
        "seed": run.get("seed"),
    }


def _each_alone(predictor: "Predictor", reviews: "LabelledReviews") -> list[dict[str, Any]]:
    """The weight and the test metrics of each member of an ensemble by itself."""
    import torch

    from sentiment.model.metrics import summarise_predictions

    members = zip(predictor.members, predictor.weights, reviews.logits, strict=True)
    labels = torch.from_numpy(reviews.labels)
    return [
        {"checkpoint": str(member.path), "weight": weight}
        | summarise_predictions(torch.from_numpy(own), labels, "test/")
        for member, weight, own in members
    ]


class LabelledReviews(NamedTuple):
    """The labels of a file and the predictions for it."""

    logits: "list[Floats]"  # for each member, (reviews, classes)
    labels: "npt.NDArray[np.int64]"  # (reviews,), the true classes
    lengths: "npt.NDArray[np.int64]"  # (reviews,), tokens by the first member's tokenizer, uncut
    digests: "npt.NDArray[np.int64]"  # (reviews,), as ``train_digests`` of a checkpoint
    missing: int  # rows left out because they have no text or no label
    fingerprint: str  # see ``reviews_fingerprint``


def predict_labelled(
    predictor: "Predictor",
    path: Path,
    csv_format: "CsvFormat",
    file_labels: Sequence[str] | None = None,
    wrong: "Misclassified | None" = None,
) -> LabelledReviews:
    """Predict the reviews of a labelled file, and add those that are misclassified to ``wrong``.

    Other arguments and errors as in ``evaluate``.
    """
    import numpy as np

    from sentiment.data.reviews import read_reviews, row_count
    from sentiment.data.splits import reviews_fingerprint

    classes = _classes_by_label(predictor, file_labels, csv_format)
    logits: list[list[Floats]] = []
    labels: list[npt.NDArray[np.int64]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    digests: list[npt.NDArray[np.uint64]] = []
    folded: list[npt.NDArray[np.uint64]] = []
    missing = 0
    rows = row_count(path, csv_format)
    with progress_bar(f"Evaluating {path.name}", rows, "row") as bar:
        for chunk in read_reviews(path, csv_format, chunk_rows=2_000):
            for note in _add_equal_labels(classes, chunk, predictor, path, csv_format):
                write_note(note)
            encoded = predictor.tokenizer.encode(chunk.texts)
            predictor.count_known(encoded)
            logits.append(predictor.member_logits(chunk.texts, encoded))
            true = [classes[label] for label in chunk.labels]
            if wrong is not None:
                wrong.add(chunk.texts, chunk.rows, true, predictor.combine(logits[-1]))
            labels.append(np.array(true, np.int64))
            lengths.append(encoded.lengths)
            digests.append(encoded.digests)
            folded.append(encoded.folded[:, 0])
            missing += chunk.missing
            bar.update(len(chunk.rows) + chunk.missing)
    joined = [np.concatenate(chunks) for chunks in zip(*logits, strict=True)]
    names = file_labels or predictor.raw_labels
    return LabelledReviews(
        joined,
        np.concatenate(labels),
        np.concatenate(lengths),
        np.concatenate(folded).view(np.int64),
        missing,
        reviews_fingerprint(zip(digests, labels, strict=True), names),
    )


def _classes_by_label(
    predictor: "Predictor", labels: Sequence[str] | None, csv_format: "CsvFormat"
) -> dict[str, int]:
    """The class of each label that a file may have."""
    if labels is None:
        classes = {name: index for index, name in enumerate(predictor.labels)}
        return classes | {name: index for index, name in enumerate(predictor.raw_labels)}
    if len(set(labels)) < len(labels) or len(labels) != len(predictor.labels):
        raise InputError(
            f"{csv_format.named('labels')}: {listed(labels, repr)} given; give what the file calls"
            f" each of the classifier's {len(predictor.labels)} labels, in this order:"
            f" {listed(predictor.labels, most=50)}"
        )
    return {name: index for index, name in enumerate(labels)}


def check_labelled(predictor: "Predictor", path: Path, csv_format: "CsvFormat") -> None:
    """Check the beginning of a labelled file, as ``predict_labelled`` would.

    Raises:
        InputError: the file cannot be read, lacks a column, or has unknown labels.
    """
    from sentiment.data.reviews import read_reviews

    chunk = next(read_reviews(path, csv_format))
    _add_equal_labels(
        _classes_by_label(predictor, None, csv_format), chunk, predictor, path, csv_format
    )


def _add_equal_labels(
    classes: dict[str, int],
    chunk: "ReviewChunk",
    predictor: "Predictor",
    path: Path,
    csv_format: "CsvFormat",
) -> list[str]:
    """Add the labels of a chunk that are written otherwise, such as 1.0; returns a note of each."""
    from sentiment.data.labels import equal_labels

    notes = []
    for label, row in zip(chunk.labels, chunk.rows, strict=True):
        if label in classes:
            continue
        equal = {classes[other]: other for other in equal_labels(label, classes)}
        if len(equal) != 1:
            raise InputError(
                f"{path}, row {row + 1}: label {label!r} of column {csv_format.label_column!r} is"
                f" none of {listed(list(classes), repr)}; {csv_format.named('label_column')} names"
                f" another column, {csv_format.named('labels')} what this file calls"
                f" {listed(predictor.labels)}"
            )
        ((classes[label], other),) = equal.items()
        notes.append(f"label {label!r} is taken for {other!r}")
    return notes


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.evaluate",
        description="Measure a trained checkpoint, or several together, on a CSV file with labels.",
    )
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="file",
        help="checkpoints/best.ckpt of a run folder, or the folder; more, whose probabilities are"
        " averaged; and last a CSV file with texts and labels",
    )
    add_checkpoint_options(parser)
    add_csv_options(parser, labels=True)
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="what this file calls the labels, in the order of the classifier's; for example, 0 1"
        " for negative and positive. Default: as in the training",
    )
    parser.add_argument(
        "--errors",
        type=Path,
        metavar="FILE",
        help="write the misclassified reviews to a CSV file, those with the highest scores first",
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="CSV",
        help="fit a temperature for the averaged probabilities on a CSV file, such as the"
        " validation reviews that a training writes into data.splits_dir",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="write the checkpoints, their weights and the temperature into one checkpoint; with it"
        " or --calibrate, the last CSV file may be left out",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    order = "checkpoints first, the CSV file last"
    if parsed.labels or parsed.weights:
        order += ", then --labels or --weights, which take all that follows"
    if unknown:
        parser.refuse(unknown[0], f"files come without one: {order}")
    prepares = parsed.calibrate is not None or parsed.save is not None
    if len(parsed.files) < 2 - prepares:
        parser.error(f"give at least {'one file' if prepares else 'two files'}: {order}")
    *parsed.checkpoints, parsed.csv = parsed.files
    if prepares and is_checkpoint(parsed.csv):
        if parsed.errors is not None:
            parser.error(f"--errors goes with a CSV file to measure: {order}")
        parsed.checkpoints, parsed.csv = parsed.files, None
    elif is_checkpoint(parsed.csv):
        parser.error(f"{parsed.csv} stands where the CSV file belongs: {order}")
    if not parsed.checkpoints:
        parser.error(f"{parsed.csv} stands where a checkpoint belongs: {order}")
    for path in filter(is_table, parsed.checkpoints):
        parser.error(f"{path} stands where a checkpoint belongs: {order}, and only one")
    parsed.checkpoints = [*map(best_checkpoint, parsed.checkpoints)]
    if parsed.save is not None:
        _check_save(parser, parsed)
    return parsed


def _check_save(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Refuse what cannot be saved, or where."""
    if parsed.threshold is not None:
        parser.error("--threshold is not saved; give it when the file is used")
    if parsed.save.suffix != ".ckpt":
        parser.error(f"--save {parsed.save}: give a file that ends in .ckpt")
    for path in filter(is_onnx, parsed.checkpoints):
        parser.error(
            f"{path} is an ONNX file, which --save cannot put into a checkpoint; give the one that"
            " it was exported from"
        )
    if parsed.save.resolve() in [path.resolve() for path in parsed.checkpoints]:
        parser.error(f"--save {parsed.save}: is one of the checkpoints; give another file")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: a table or JSON on standard output, an error in one line."""
    parsed = parse_arguments(arguments)
    with ending_at_once():
        from sentiment.predict.csv_file import check_writable
        from sentiment.predict.ensemble import save_predictor  # slow, for torch
        from sentiment.report.result_table import (
            class_tables,
            length_table,
            members_table,
            result_table,
        )
        from sentiment.report.tables import json_text, print_table
    limit_threads()
    with exit_on_input_error():
        for path in (parsed.calibrate, parsed.csv):
            if path is not None:
                check_csv(parsed, path)  # loading the checkpoints takes longer
        if parsed.save is not None:
            check_writable(parsed.save, [], parsed.checkpoints, name_in_it="ensemble.ckpt")
        predictor = load_predictor(parsed)
        csv_format = csv_format_from(parsed, predictor)
        results: dict[str, Any] = {}
        fitted = None
        if parsed.calibrate is not None:
            if parsed.threshold is None and predictor.thresholds is not None:
                without_thresholds(predictor)
            given = predictor.thresholds
            calibration, fitted = calibrate(predictor, parsed.calibrate, csv_format, parsed.labels)
            predictor.thresholds = given  # by --threshold, for the new scores
            results["calibration"] = calibration
        if parsed.save is not None:
            save_predictor(predictor, parsed.save)
            weighted = zip(predictor.members, predictor.weights, strict=True)
            results["saved"] = {
                "path": parsed.save,
                "temperature": predictor.temperature,
                "members": [{"checkpoint": str(each.path), "weight": w} for each, w in weighted],
            }
            write_note(f"wrote {parsed.save}: give it in place of the checkpoints")
        if parsed.csv is not None:
            results |= evaluate(
                predictor, parsed.csv, csv_format, parsed.labels, parsed.errors, fitted
            )
        if parsed.json:
            sys.stdout.write(json_text(results) + "\n")
            return
        if parsed.calibrate is not None:
            divided = f"divided by {calibration['temperature']:.3f}"
            rows = {"undivided": calibration["before"], divided: calibration["after"]}
            named = [{"checkpoint": name} | row for name, row in rows.items()]
            print_table(members_table(named, f"on {parsed.calibrate.name}", prefix=""))
            sys.stdout.write("\n" * (parsed.csv is not None))
        if parsed.csv is None:
            return
        hidden = ("train_reviews", "vector_coverage", "dropped_duplicates")  # not about this file
        print_table(result_table({k: v for k, v in results.items() if k not in hidden}))
        tables = [members_table(results["members"])] if "members" in results else []
        tables += class_tables(results["test/by_class"], results["test/confusion"])
        for table in [*tables, length_table(results["test/by_length"])]:
            sys.stdout.write("\n")
            print_table(table)


sys.modules[__name__].__class__ = Command
