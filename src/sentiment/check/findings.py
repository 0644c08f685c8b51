"""What the checks have found, as sentences and rows, the most serious first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sentiment.batch import NO_CLASS
from sentiment.check.duplicates import Repeats
from sentiment.check.giveaways import ColumnGiveaway, WordGiveaway
from sentiment.check.labels import LabelErrors
from sentiment.check.reviews import Ints, Origin, Reviews
from sentiment.check.texts import TextFacts, language_name
from sentiment.data.labels import quoted
from sentiment.data.reviews import is_blank
from sentiment.data.scripts import unsplit_script
from sentiment.predict.options import FEW
from sentiment.report.tables import format_percent
from sentiment.runtime.errors import listed

SERIOUS, LOOK, NOTE = "serious", "look", "note"
WILL_NOT_START = "a training will not start: "
LEVELS = (SERIOUS, LOOK, NOTE)
FindingKind = Literal[
    "refused", "mismatch", "leak", "contradiction", "label", "column", "order", "word", "repeat",
    "near", "mojibake", "replaced", "language", "languages", "tokenizer", "markup", "script",
    "class", "balance", "missing", "short", "long",
]  # fmt: skip
KINDS: tuple[FindingKind, ...] = get_args(FindingKind)

_MANY_ERRORS = 0.03  # fraction of labels
_GOOD, _POOR = 0.85, 0.75  # accuracy of the classifier that finds them
_FEW_ROWS = 10  # of a class
_IMBALANCE = 10  # the largest class over the smallest
_SHORT = 2  # tokens
_MAIN_LANGUAGE = 0.9  # fraction of the texts; with less, the texts are in several languages


@dataclass(frozen=True)
class Row:
    """A row to look at.

    Attributes:
        review: its index among all reviews; -1 for a row that a training leaves out.
        why: why it should be looked at.
        group: number of a group of rows that belong together; 0 for none.
        likely: the label that it likely has; "" if that is not the question.
        score: how sure that is, in the sense of ``why``; None if it is not measured.
        left_out: the row, if a training leaves it out.
        likeness: how much it is like others of its group.
    """

    review: int
    why: str
    group: int = 0
    likely: str = ""
    score: float | None = None
    left_out: Origin | None = None
    likeness: str = ""

    def origin(self, reviews: Reviews, texts: Mapping[int, str]) -> Origin:
        """Where it is; ``texts`` are the beginnings of texts by review."""
        if self.left_out is not None:
            return self.left_out
        file, number = reviews.place(self.review)
        return Origin(file, number, reviews.label(self.review), texts[self.review])


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        kind: its name in the files.
        level: one of ``LEVELS``.
        title: a heading.
        count: how many there are, of rows, groups or whatever the title names.
        line: one sentence.
        advice: what to do.
        rows: the rows to look at, the most important first.
    """

    kind: FindingKind
    level: str
    title: str
    count: int
    line: str
    advice: str
    rows: list[Row] = field(default_factory=list)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun, such as ``1 text`` or ``2,000 texts``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def by_seriousness(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, the most serious first."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def refusal_findings(refusal: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Why a training does not start, if no other finding says it."""
    if refusal and not carried(findings):
        yield Finding(
            "refused",
            SERIOUS,
            "A training will not start",
            1,
            f"{WILL_NOT_START}{refusal}",
            "Do as this line says; until then no training of these files starts.",
        )


def carried(findings: Iterable[Finding]) -> bool:
    """Whether one of the findings says why a training does not start."""
    return any(each.line.startswith(WILL_NOT_START) for each in findings)


def leaks(
    reviews: Reviews, repeats: Repeats, refusing: Sequence[int], most: int
) -> Iterator[Finding]:
    """Texts of one file that are in another one too: a finding for each file but the first.

    Args:
        reviews: the reviews.
        repeats: which of them repeat one another.
        refusing: the files whose leaks keep a training from starting.
        most: rows of a finding.
    """
    of = reviews.file_of(np.arange(len(reviews)))
    groups = [each for each in repeats.groups() if len(np.unique(of[each])) > 1]
    for at, file in enumerate(reviews.files[1:], 1):
        mine = [each for each in groups if at in of[each] and of[each].min() < at]
        if not mine:
            continue
        own = np.concatenate([each[of[each] == at] for each in mine])
        before = np.unique(repeats.exact[: reviews.firsts[at]])
        exact = int(np.isin(repeats.exact[own], before).sum())
        near = len(own) - exact
        others = np.unique(of[np.concatenate(mine)])
        names = [reviews.files[each].corpus.path.name for each in others if each < at]
        refused = exact > 0 and at in refusing
        advice = "A training drops them."
        if refused:
            advice = "Give files with other texts, or leave one of these out: too few are left."
        elif near:
            advice = (
                "Remove the nearly equal ones from one of the files: a training drops only equal"
                f" ones{', and results are too good' if file.labeled else ''}."
            )
        yield Finding(
            "leak",
            SERIOUS if refused or (file.labeled and near) else LOOK,
            "Leaks between files",
            len(own),
            f"{WILL_NOT_START * refused}{len(own):,} of {counted(len(file.corpus), 'text')} of"
            f" {file.corpus.path.name} also in {listed(names)}: {exact:,} equal,"
            f" {near:,} nearly equal",
            advice,
            _group_rows(reviews, repeats, mine, "also in another file", most),
        )


def contradictions(reviews: Reviews, repeats: Repeats, most: int) -> Iterator[Finding]:
    """Equal or nearly equal texts with different labels."""
    equal: list[Ints] = []
    near: list[Ints] = []
    for group in repeats.groups():
        labeled = group[reviews.compared[group] != NO_CLASS]
        if len(np.unique(reviews.classes[labeled])) < 2:
            continue
        pairs = np.unique(
            np.column_stack([repeats.exact[labeled], reviews.classes[labeled]]), axis=0
        )
        (equal if len(np.unique(pairs[:, 0])) < len(pairs) else near).append(labeled)
    if equal or near:
        yield Finding(
            "contradiction",
            SERIOUS,
            "The same text with different labels",
            len(equal) + len(near),
            f"{counted(len(equal) + len(near), 'text')} with different labels: {len(equal):,}"
            f" equal, {len(near):,} nearly equal",
            "Decide on one label, or remove them: of equal texts a training keeps the first.",
            _group_rows(reviews, repeats, equal + near, "another label for this text", most),
        )


def label_errors(
    reviews: Reviews, errors: LabelErrors, most: int, *, trained: bool
) -> Iterator[Finding]:
    """Labels that are likely wrong, by a trained classifier or by one of these files."""
    count = len(errors.reviews)
    if not count:
        return
    fraction = count / errors.checked
    rows = [
        Row(
            review,
            f"reads like {quoted(reviews.names[likely])}: its own label has the probability"
            f" {score:.3f}",
            likely=reviews.names[likely],
            score=score,
        )
        for review, likely, score in zip(
            errors.reviews[:most].tolist(),
            errors.likely[:most].tolist(),
            errors.scores[:most].tolist(),
            strict=True,
        )
    ]
    seen = errors.checked - errors.unseen
    unknown = errors.unseen < min(FEW, seen)
    good = errors.accuracy >= _GOOD and not unknown
    poor = errors.accuracy < _POOR or unknown
    level = SERIOUS if good and fraction >= _MANY_ERRORS else LOOK
    wrong = "other than expected" if poor else "likely wrong"
    of = f"the {errors.unseen:,} others" if seen else "them"
    by = f"was trained on {seen:,} of them and " if seen else ""
    by += f"predicts {'only ' * poor}{format_percent(errors.accuracy)} of {of}"
    if unknown:
        by = f"was trained on all{f' but {errors.unseen}' if errors.unseen else ''} of them"
    better = "give a better classifier, trained on other rows: check.checkpoint=RUN"
    if trained:
        better = "leave check.checkpoint out: each row is then judged by a classifier without it"
    yield Finding(
        "label",
        NOTE if poor else level,
        "Likely label errors",
        count,
        f"{counted(count, 'label')} of {errors.checked:,} {wrong}"
        f" ({format_percent(fraction)}), by a classifier that {by}",
        "Read the first ones: the last ones are often right but unusual."
        if good
        else f"Read the first ones, or {better}.",
        rows,
    )


def column_findings(reviews: Reviews, found: Sequence[ColumnGiveaway]) -> Iterator[Finding]:
    """Columns, or the order of the rows, that give the label away."""
    columns: dict[str, list[ColumnGiveaway]] = {}
    for each in found:
        columns.setdefault(each.column, []).append(each)
    for column, same in columns.items():
        names = [reviews.files[each.file].corpus.path.name for each in same]
        accuracies = _shown([each.accuracy for each in same])
        chances = _shown([each.chance for each in same])
        how = f"{accuracies} right by it alone, {chances} by chance"
        if not column:
            yield Finding(
                "order",
                NOTE,
                "Rows in the order of their labels",
                len(same),
                f"{listed(names)}: the rows are sorted by label ({how})",
                "Shuffle them before you cut the file by position; a training's own split does.",
            )
            continue
        examples = [f"{quoted(value)} is mostly {label}" for value, label in same[0].examples]
        of = f"in {names[0]}, " if len(same) > 1 else ""
        yield Finding(
            "column",
            LOOK,
            "A column gives the label away",
            len(same),
            f"{listed(names)}: column {quoted(column)} predicts the label ({how};"
            f" {of}{'; '.join(examples)})",
            "A training does not read it; ask where it comes from before you use it as a feature.",
        )


def _shown(fractions: Sequence[float]) -> str:
    """Fractions of several files, in their order; one where they are all the same."""
    shown = [format_percent(each) for each in fractions]
    return listed(shown if len({*shown}) > 1 else shown[:1])


def word_findings(reviews: Reviews, found: Sequence[WordGiveaway], most: int) -> Iterator[Finding]:
    """Words that give the label away."""
    if not found:
        return
    shown = [
        f"{quoted(each.words)} ({each.reviews:,} texts, {format_percent(each.purity)}"
        f" {reviews.names[each.label]})"
        for each in found
    ]
    rows = [
        Row(review, f"has {quoted(each.words)}, which gives its label away", score=each.purity)
        for each in found
        for review in each.examples.tolist()
    ]
    yield Finding(
        "word",
        LOOK,
        "Words that give the label away",
        len(found),
        f"{counted(len(found), 'word')} giving the label away: {listed(shown, most=5)}",
        "Remove them from the texts if new texts will not have them, such as a rating or a tag.",
        rows[:most],
    )


def repeats_within(reviews: Reviews, repeats: Repeats, most: int) -> Iterator[Finding]:
    """Repeated texts within a file: equal ones, and nearly equal ones."""
    of = reviews.file_of(np.arange(len(reviews)))
    same: list[Ints] = []
    near: list[Ints] = []
    extra = [0, 0]
    for group in repeats.groups():
        for at in np.unique(of[group]):
            own = group[of[group] == at]
            different = len(np.unique(repeats.exact[own]))
            extra[0] += len(own) - different
            extra[1] += different - 1
            if different < len(own):
                same.append(own)
            if different > 1:
                near.append(own)
    if extra[0]:
        yield Finding(
            "repeat",
            NOTE,
            "Repeated texts",
            extra[0],
            f"{counted(extra[0], 'repetition')} of a text in the same file",
            "A training keeps the first of them.",
            _group_rows(reviews, repeats, same, "repeats a text", most),
        )
    if extra[1]:
        yield Finding(
            "near",
            LOOK,
            "Nearly equal texts",
            extra[1],
            f"{counted(extra[1], 'near repetition')} of a text in the same file",
            "Keep one of each group: a split at random puts some on both sides, and the test is"
            " too easy.",
            _group_rows(reviews, repeats, near, "nearly repeats a text", most),
        )


def text_findings(
    reviews: Reviews, facts: TextFacts, language: str, most: int
) -> Iterator[Finding]:
    """Encodings, languages and markup."""
    yield from _encodings(facts, most)
    yield from _languages(reviews, facts, language, most)
    for kind, marked in facts.markup.items():
        yield Finding(
            "markup",
            LOOK if len(marked) > 0.01 * len(reviews) else NOTE,
            "Markup in the texts",
            len(marked),
            f"{counted(len(marked), 'text')} with {kind}",
            "Remove it, or it becomes words: a training removes HTML alone.",
            [Row(each, kind) for each in marked[:most]],
        )
    for file in reviews.files:
        if unsplit := unsplit_script(file.corpus.words):
            yield Finding(
                "script",
                SERIOUS,
                "Words that are not split",
                len(file.corpus),
                f"{file.corpus.path.name}: {unsplit}",
                "Set the language.",
            )


def _encodings(facts: TextFacts, most: int) -> Iterator[Finding]:
    """Texts of a wrong encoding, and others with lost characters; each text once."""
    again = "Read the source again with its own encoding (data.encoding)"
    wrong, lost = "decoded by a wrong encoding", "with lost characters (U+FFFD)"
    kinds: tuple[tuple[FindingKind, str, npt.NDArray[np.bool_], str, str], ...] = (
        ("mojibake", f"Texts {wrong}", facts.mojibake, wrong, "or repair the texts with ftfy"),
        (
            "replaced", "Lost characters", facts.replaced & ~facts.mojibake, lost,
            "as what is lost here cannot be repaired",
        ),
    )  # fmt: skip
    for kind, title, marked, why, remedy in kinds:
        texts = np.flatnonzero(marked).tolist()
        if texts:
            both = facts.mojibake & facts.replaced
            yield Finding(
                kind,
                LOOK,
                title,
                len(texts),
                f"{counted(len(texts), 'text')} {why}",
                f"{again}, {remedy}.",
                [Row(each, f"{why}, and {lost}" if both[each] else why) for each in texts[:most]],
            )


def _languages(reviews: Reviews, facts: TextFacts, language: str, most: int) -> Iterator[Finding]:
    counts = np.bincount(facts.language[facts.language >= 0], minlength=len(facts.languages))
    if not counts.sum():
        return
    main = int(counts.argmax())
    code, fraction = facts.languages[main], counts[main] / counts.sum()
    if fraction < _MAIN_LANGUAGE:
        order = np.argsort(-counts)[:5].tolist()
        shown = [
            f"{language_name(facts.languages[each])} {format_percent(counts[each] / counts.sum())}"
            for each in order
        ]
        yield Finding(
            "languages",
            NOTE,
            "Texts in several languages",
            len(facts.languages),
            f"the texts are in several languages: {listed(shown)}",
            "data.language=xx splits words without the rules of one language.",
        )
        return
    if language not in ("xx", code) and facts.languages[main] not in language:
        yield Finding(
            "tokenizer",
            LOOK,
            "Another language than data.language",
            int(counts[main]),
            f"{format_percent(fraction)} of the texts are {language_name(code)}, and"
            f" data.language is {language}",
            f"Set data.language={code}, if spaCy has it.",
        )
    others = np.flatnonzero((facts.language >= 0) & (facts.language != main))
    if len(others):
        names = [language_name(facts.languages[each]) for each in facts.language[others].tolist()]
        yield Finding(
            "language",
            LOOK,
            "Texts in another language",
            len(others),
            f"{counted(len(others), 'text')} not in {language_name(code)} but in"
            f" {listed(list(dict.fromkeys(names)), most=5)}",
            "Remove or translate them: they teach nothing, and are tested as if they did.",
            [
                Row(each, f"in {name}")
                for each, name in zip(others[:most].tolist(), names[:most], strict=True)
            ],
        )


def length_findings(reviews: Reviews, longest: int, setting: str, most: int) -> Iterator[Finding]:
    """Very short texts, and those that a training cuts."""
    short = np.flatnonzero(reviews.lengths <= _SHORT)
    if len(short):
        yield Finding(
            "short",
            NOTE,
            "Very short texts",
            len(short),
            f"{counted(len(short), 'text')} of one or two tokens",
            "Read them: such a text often says nothing of its label.",
            [Row(each, "says little") for each in short[:most].tolist()],
        )
    long = np.flatnonzero(reviews.lengths > longest)
    if len(long):
        long = long[np.argsort(-reviews.lengths[long], kind="stable")]
        lengths = reviews.lengths[long[:most]].tolist()
        unread = (reviews.lengths[long] - longest).sum() / reviews.lengths.sum()
        yield Finding(
            "long",
            NOTE,
            "Texts that are cut",
            len(long),
            f"{counted(len(long), 'text')} of more than {longest:,} tokens ({setting});"
            f" {format_percent(unread)} of all tokens are not read",
            "Set data.max_length, and data.keep for the part that is read.",
            [
                Row(each, f"{length:,} tokens")
                for each, length in zip(long[:most].tolist(), lengths, strict=True)
            ],
        )


def class_findings(reviews: Reviews, refusal: str, most: int) -> Iterator[Finding]:
    """Classes with few rows, far fewer than another, or none in a file.

    Args:
        reviews: the reviews.
        refusal: why a training of these files does not start; "" if it does, or if another finding
            says it.
        most: rows of a finding.
    """
    by_file = reviews.counts(reviews.classes)
    for at, file in enumerate(reviews.files):
        if not file.labeled:
            continue
        # Labels that are not chosen must be in all files: "mismatch".
        labels = np.flatnonzero(by_file[at] if reviews.merge else by_file.sum(0))
        counts = by_file[at, labels]
        name = file.corpus.path.name
        few = labels[counts < _FEW_ROWS]
        if len(few):
            shown = [f"{quoted(reviews.names[label])} {by_file[at, label]}" for label in few]
            own = np.flatnonzero(np.isin(reviews.classes[reviews.of_file(at)], few))
            refused = file.trains and any(quoted(reviews.labels[label]) in refusal for label in few)
            yield Finding(
                "class",
                SERIOUS if refused else LOOK,
                "Classes with few rows",
                len(few),
                f"{WILL_NOT_START * refused}{name}: labels with fewer than {_FEW_ROWS} rows:"
                f" {listed(shown)}",
                "Add rows, or merge these labels with others.",
                [
                    Row(each, "a label with few rows")
                    for each in (own[:most] + reviews.firsts[at]).tolist()
                ],
            )
        if file.trains and counts.max() >= _IMBALANCE * max(1, counts.min()):
            largest = int(counts.argmax())
            yield Finding(
                "balance",
                LOOK,
                "Unequal classes",
                len(counts),
                f"{name}: {format_percent(counts[largest] / counts.sum())} of the rows are"
                f" {quoted(reviews.names[labels[largest]])}, {counted(int(counts.min()), 'row')}"
                f" {quoted(reviews.names[labels[counts.argmin()]])}",
                "Go by macro F1 instead of accuracy, or try loss.balanced=true.",
            )


def missing_findings(reviews: Reviews, facts: TextFacts) -> Iterator[Finding]:
    """Rows without a text or a label."""
    for file, blank, left_out in zip(reviews.files, facts.blank, facts.left_out, strict=True):
        if file.corpus.missing:
            yield Finding(
                "missing",
                NOTE,
                "Rows without text or label",
                file.corpus.missing,
                f"{file.corpus.path.name}: {counted(blank, 'row')} without text,"
                f" {file.corpus.missing - blank:,} without label",
                "A training leaves them out.",
                [
                    Row(
                        -1,
                        "without text" if is_blank(each.text) else "without label",
                        left_out=each,
                    )
                    for each in left_out
                ],
            )


def _group_rows(
    reviews: Reviews, repeats: Repeats, groups: Sequence[Ints], why: str, most: int
) -> list[Row]:
    """Rows of whole groups, the most similar first."""
    ranked = sorted(groups, key=lambda each: -float(repeats.similarity[each].min()))
    rows: list[Row] = []
    for number, group in enumerate(ranked, 1):
        if len(rows) >= most:
            break
        exact = repeats.exact[group].tolist()
        for each, digest in zip(group.tolist(), exact, strict=True):
            similarity = float(repeats.similarity[each])
            how = "equal" if exact.count(digest) > 1 else f"similarity {similarity:.2f}"
            rows.append(Row(each, f"{why} ({how})", number, score=similarity, likeness=how))
    return rows[:most]
