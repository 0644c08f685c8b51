"""Check the files of a training, and write what was found: never a change to a file of data."""

import importlib.metadata
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from sentiment.check.duplicates import Repeats, find_repeats
from sentiment.check.findings import (
    KINDS,
    LEVELS,
    LOOK,
    NOTE,
    SERIOUS,
    Finding,
    FindingKind,
    by_seriousness,
    carried,
    class_findings,
    column_findings,
    contradictions,
    label_errors,
    leaks,
    length_findings,
    missing_findings,
    refusal_findings,
    repeats_within,
    text_findings,
    word_findings,
)
from sentiment.check.giveaways import column_giveaways, word_giveaways
from sentiment.check.labels import (
    classes_to_check,
    count_ngrams,
    find_label_errors,
    held_out_probabilities,
    probabilities_of,
    seen_in_training,
)
from sentiment.check.mismatch import mismatches
from sentiment.check.page import MOST_CHARACTERS, MOST_ROWS, write_page
from sentiment.check.reviews import CheckedFile, Reviews
from sentiment.check.texts import TextFacts, excerpt, language_name, read_texts, some_texts
from sentiment.config.checks import check_config
from sentiment.config.overrides import CommandLine, train_command
from sentiment.config.schemas import CheckConfig
from sentiment.data.corpus import open_corpus
from sentiment.data.csv_format import CsvFormat
from sentiment.data.labels import order_labels
from sentiment.data.padding import LONGEST_TEXT
from sentiment.data.pipeline import DataFiles, PreparationSettings, display_names, first_row
from sentiment.data.splits import split_reviews, unlabeled_splits
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.predict.member import Member
from sentiment.report.tables import write_csv, write_json
from sentiment.runtime.cache import cache_directory
from sentiment.runtime.environment import versions
from sentiment.runtime.errors import InputError, as_typed, listed, needing, valid_names
from sentiment.runtime.run_folder import check_unused

log = logging.getLogger(__name__)

_PACKAGES = ("cleanlab", "rensa", "py3langid", "ftfy")
_COLUMNS = (
    "kind", "group", "file", "row", "label", "likely_label", "score", "why", "text",
)  # fmt: skip
_QUANTILES = {"least": 0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1}


@dataclass(frozen=True)
class Checked:
    """What a check has found.

    Attributes:
        reviews: the reviews of all files.
        findings: what to look at, the most serious first.
        failed: the kinds found that ``check.fail_on`` names by kind or level.
        facts: counts that hold whether there is something to look at or not.
        texts: the beginnings of the texts of all rows of the findings, by review.
        compared: more of the texts that the page compares.
    """

    reviews: Reviews
    findings: list[Finding]
    failed: list[FindingKind]
    facts: dict[str, Any]
    texts: Mapping[int, str]
    compared: Mapping[int, str]


def run_check(cfg: DictConfig, folder: Path, *, command_line: CommandLine | None = None) -> Checked:
    """Check the files of a training; write the page, the rows and the counts; log a summary.

    Args:
        cfg: a config as ``conf/check.yaml`` composes it.
        folder: gets ``check.html``, ``rows.csv`` and ``check.json``.
        command_line: what the check was started with, for the command that is logged at the end;
            None if it was started from Python.

    Raises:
        InputError: the data, the checkpoint or a setting cannot be used, a package is missing, or
            the folder is another program's.
    """
    check_config(cfg, CheckConfig)
    _check_kinds(cfg.check.fail_on)
    check_unused(folder)
    require_packages()
    start = time.perf_counter()
    checked = check(cfg)
    checked.facts["seconds"] = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "rows.csv", _table(checked), _COLUMNS)
    write_json(folder / "check.json", _results(checked, cfg))
    write_page(
        folder / "check.html", checked.reviews, checked.findings, checked.facts, checked.texts,
        checked.compared,
    )  # fmt: skip
    _log_summary(checked, folder, command_line or CommandLine())
    return checked


def _check_kinds(names: Sequence[str]) -> None:
    """Raise InputError if ``check.fail_on`` names neither a kind of finding nor a level."""
    for name in names:
        if name not in (*LEVELS, *KINDS):
            raise InputError(f"check.fail_on={name}: {valid_names(name, [*LEVELS, *KINDS])}")


def require_packages() -> None:
    """Raise InputError if a package of the extra ``check`` is missing."""
    with needing("check", "sentiment.check"):
        for name in (*_PACKAGES, "jinja2"):
            importlib.import_module(name)


def check(cfg: DictConfig) -> Checked:
    """Check the files of a config; as ``run_check``, but writes nothing."""
    member = None if cfg.check.checkpoint is None else Member.load(cfg.check.checkpoint)
    reviews = open_reviews(cfg, None if member is None else member.tokenizer_settings)
    most = cfg.check.rows
    repeats = find_repeats(reviews, cfg.check.similarity)
    texts = read_texts(reviews, strip_markup=cfg.data.strip_markup, seed=cfg.seed, most=most)
    setting = f"data.max_length={as_typed(cfg.data.max_length)}"
    longest = cfg.data.max_length or LONGEST_TEXT
    settings = _preparation(cfg.data)
    refusal = _refusal(reviews, settings)
    refusing = _refusing_leaks(reviews, settings, refusal)
    leaked = list(leaks(reviews, repeats, refusing, most))
    unexplained = "" if carried(leaked) else refusal
    mismatched = list(mismatches(reviews, unexplained, most))
    unexplained = "" if carried(mismatched) else unexplained
    findings = [
        *mismatched,
        *leaked,
        *contradictions(reviews, repeats, most),
        *_label_findings(reviews, repeats, member, cfg),
        *column_findings(reviews, column_giveaways(reviews, texts.cells, texts.sampled)),
        *repeats_within(reviews, repeats, most),
        *text_findings(reviews, texts, cfg.data.language, most),
        *class_findings(reviews, unexplained, most),
        *missing_findings(reviews, texts),
        *length_findings(reviews, longest, setting, most),
    ]
    findings = by_seriousness([*refusal_findings(refusal, findings), *findings])
    rows = [row.review for each in findings for row in each.rows if row.left_out is None]
    pairs = {row.review for each in findings for row in each.rows[:MOST_ROWS] if row.group}
    beginnings: dict[int, str] = {}
    compared: dict[int, str] = {}
    for review, text in some_texts(reviews, np.unique(rows).astype(np.int64)):
        beginnings[review] = excerpt(text)
        if review in pairs:
            compared[review] = text[:MOST_CHARACTERS]
    failed = [each.kind for each in findings if {each.kind, each.level} & {*cfg.check.fail_on}]
    facts = {**_facts(reviews, repeats, texts), "refusal": refusal}
    failed = list(dict.fromkeys(failed))
    return Checked(reviews, findings, failed, facts, beginnings, compared)


def open_reviews(cfg: DictConfig, tokenizer: TokenizerSettings | None = None) -> Reviews:
    """Open the files of a config, as a training does, so that it finds them tokenised.

    Args:
        cfg: the config.
        tokenizer: None is that of the config.
    """
    data = cfg.data
    csv_format = CsvFormat.of_settings(data)
    files = DataFiles(
        data.csv, data.train_csv, data.val_csv, data.test_csv,
        _plain(data.unlabeled_csv),
    )  # fmt: skip
    settings = _preparation(data)
    tokenizer = tokenizer or TokenizerSettings(
        language=data.language, lowercase=data.lowercase, strip_markup=data.strip_markup
    )
    given = [(role, path, csv_format) for role, path in files.labeled.items()]
    unlabeled = replace(csv_format, label_column=None)
    given += [("unlabeled_csv", path, unlabeled) for path in files.unlabeled]
    opened = []
    for role, path, read_as in given:
        trains = role in ("csv", "train_csv")
        own = read_as if trains else replace(read_as, weight_column=None)
        corpus = open_corpus(
            path, own, tokenizer, cache=cache_directory(data.cache_dir),
            num_workers=data.num_workers, classes=trains and settings.labels is None,
        )  # fmt: skip
        opened.append(CheckedFile(role, corpus, own))
    labeled = [file.corpus for file in opened if file.labeled]
    by_file = {str(corpus.path): corpus.label_names for corpus in labeled}
    labels = order_labels(
        by_file,
        settings.labels,
        partial(first_row, labeled),
        warn_of_alike=settings.labels is not None,
    )
    names = display_names(labels, settings)
    return Reviews(opened, labels, names, merge=settings.labels is None)


def _preparation(data: DictConfig) -> PreparationSettings:
    return PreparationSettings(
        labels=_plain(data.labels), label_names=_plain(data.label_names), test_size=data.test_size,
        val_size=data.val_size, seed=data.split_seed, min_freq=data.min_freq,
        max_size=data.max_size,
    )  # fmt: skip


def _refusing_leaks(reviews: Reviews, settings: PreparationSettings, refusal: str) -> list[int]:
    """The files whose leaks keep a training from starting: without them it could split the rest."""
    if not refusal:
        return []
    for at, file in enumerate(reviews.files):
        if not file.labeled and refusal.startswith(f"{file.corpus.path}: "):
            return [at]
    others = [at for at, file in enumerate(reviews.files) if at and file.labeled]
    alone = [at for at in others if not _refusal(reviews, settings, apart=[at])]
    if alone or _refusal(reviews, settings, apart=others):
        return alone
    return others


def _refusal(
    reviews: Reviews, settings: PreparationSettings, apart: Sequence[int] | None = None
) -> str:
    """Why a training cannot split these files; "" if it can.

    Args:
        reviews: the reviews.
        settings: how they are split.
        apart: files whose texts are taken as different from those of all others, to see if leaks
            are the reason; only the files with labels count then. None is all files as they are.
    """
    corpora = {file.role: file.corpus for file in reviews.files if file.labeled}
    unlabeled = [file.corpus for file in reviews.files if not file.labeled and apart is None]
    for at in apart or ():
        file = reviews.files[at]
        changed = file.corpus.folded ^ np.uint64(at)  # as digests of other texts
        corpora[file.role] = replace(file.corpus, folded=changed)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what is logged here is said by findings
    try:
        splits = split_reviews(
            corpora.get("csv") or corpora["train_csv"], reviews.labels, val=corpora.get("val_csv"),
            test=corpora.get("test_csv"), test_size=settings.test_size, val_size=settings.val_size,
            seed=settings.seed, labels_chosen=settings.labels is not None,
        )  # fmt: skip
        unlabeled_splits(unlabeled, splits)
    except InputError as error:
        return str(error)
    finally:
        logging.disable(disabled)
    return ""


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _label_findings(
    reviews: Reviews, repeats: Repeats, member: Member | None, cfg: DictConfig
) -> list[Finding]:
    """Label errors and words that give the label away, where there are enough rows."""
    classes = classes_to_check(reviews, repeats)
    chosen = np.flatnonzero(np.isin(reviews.compared, classes))
    counted = count_ngrams(reviews, chosen, cfg.seed) if len(classes) > 1 else None
    if counted is None or not counted.ngrams.features:
        log.warning("too few rows of each label, or repeated words, to look for wrong labels")
        return []
    words = word_giveaways(reviews, counted)
    if member is None:
        scores = held_out_probabilities(reviews, repeats, chosen, counted, cfg.seed)
        seen = np.zeros(len(chosen), bool)
    else:
        scores = probabilities_of(member, reviews, chosen)
        seen = seen_in_training(member, reviews, chosen)
    errors = find_label_errors(reviews, chosen, scores, seen)
    most = cfg.check.rows
    return [
        *label_errors(reviews, errors, most, trained=member is not None),
        *word_findings(reviews, words, most),
    ]


def _facts(reviews: Reviews, repeats: Repeats, texts: TextFacts) -> dict[str, Any]:
    files = []
    counts = reviews.counts(reviews.written)
    for at, file in enumerate(reviews.files):
        own = reviews.of_file(at)
        lengths = reviews.lengths[own]
        by_label = dict(zip(reviews.names, counts[at].tolist(), strict=True))
        values = np.quantile(lengths, list(_QUANTILES.values()), method="nearest")
        files.append(
            {
                "role": file.role,
                "path": str(file.corpus.path),
                "rows": len(file.corpus) + file.corpus.missing,
                "reviews": len(file.corpus),
                "missing": file.corpus.missing,
                "distinct": len(np.unique(repeats.exact[own])),
                "classes": by_label if file.labeled else {},
                "lengths": dict(zip(_QUANTILES, values.tolist(), strict=True)),
            }
        )
    known = texts.language[texts.language >= 0]
    counts = np.bincount(known, minlength=len(texts.languages))
    languages = {
        language_name(texts.languages[each]): int(counts[each]) for each in np.argsort(-counts)
    }
    return {"files": files, "labels": reviews.names, "languages": languages}


def _table(checked: Checked) -> list[dict[str, object]]:
    """The content of ``rows.csv``."""
    return [
        {
            "kind": finding.kind,
            "group": row.group or "",
            "file": origin.file.corpus.path.name,
            "row": origin.row,
            "label": origin.label,
            "likely_label": row.likely,
            "score": "" if row.score is None else f"{row.score:.4f}",
            "why": row.why,
            "text": origin.text,
        }
        for finding in checked.findings
        for row in finding.rows
        for origin in [row.origin(checked.reviews, checked.texts)]
    ]


def _results(checked: Checked, cfg: DictConfig) -> dict[str, Any]:
    """The content of ``check.json``."""
    return {
        **checked.facts,
        "findings": [
            {
                "kind": each.kind,
                "level": each.level,
                "title": each.title,
                "count": each.count,
                "listed": len(each.rows),
                "line": each.line,
                "advice": each.advice,
            }
            for each in checked.findings
        ],
        "failed": checked.failed,
        "settings": {**{name: _plain(each) for name, each in cfg.check.items()}, "seed": cfg.seed},
        "versions": {
            **versions(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _log_summary(checked: Checked, folder: Path, command_line: CommandLine) -> None:
    for file in checked.facts["files"]:
        counts = [f"{name} {count:,}" for name, count in file["classes"].items() if count]
        classes = listed(counts, most=8)
        length = file["lengths"]
        log.info(
            "%s: %s rows%s; tokens of a text: %s (median), %s (95 %%), %s (longest)",
            file["path"], f"{file['rows']:,}", f" ({classes})" if classes else "",
            f"{length['median']:,}", f"{length['95 %']:,}", f"{length['most']:,}",
        )  # fmt: skip
    if checked.findings:
        log.info(
            "Found, the most serious first (!! serious, ! to look at, the others are notes);"
            " rows.csv has rows of most kinds:"
        )
    width = max((len(each.kind) for each in checked.findings), default=0)
    for each in checked.findings:
        mark = {SERIOUS: "!!", LOOK: "! ", NOTE: "  "}[each.level]
        log.info("  %s %s  %s", mark, each.kind.ljust(width), each.line)
        log.info("     %s  -> %s", " " * width, each.advice)
    levels = [each.level for each in checked.findings]
    if not checked.findings:
        log.info("Nothing was found to look at.")
    notes = levels.count(NOTE)
    log.info(
        "%s serious, %s to look at, %s note%s. Read %s; the files were left as they are.",
        levels.count(SERIOUS), levels.count(LOOK), notes, "s" * (notes != 1), folder / "check.html",
    )  # fmt: skip
    if refusal := checked.facts["refusal"]:
        log.info("A training will not start: %s", refusal)
    else:
        log.info("Train:")
        log.info("  %s", train_command(*command_line.data()))
