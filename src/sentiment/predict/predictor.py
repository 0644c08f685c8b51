"""Predict the labels of texts with one or several trained checkpoints, from Python.

Loads spaCy and, for checkpoints, torch, but neither Hydra nor Lightning, so that it starts fast.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from sentiment.data.reviews import CHARACTERS_AT_A_TIME, is_blank
from sentiment.data.tokenizer import EncodedTexts, Tokenizer, TokenizerSettings, without_torch
from sentiment.model.abstention import stored_thresholds
from sentiment.predict.coverage import Coverage
from sentiment.predict.explanation import Explanation, tokens_of
from sentiment.predict.logits import Floats, log_odds, log_softmax, softmax
from sentiment.predict.member import Member, load_members
from sentiment.runtime.errors import InputError, listed

Prediction = dict[str, Any]
_Counts = npt.NDArray[np.int64]  # (texts,)

TEXTS_AT_A_TIME = 4096


class Predictor:
    """Predicts the labels of texts with a trained classifier, or with the mean of several.

    It can be pickled and copied, and used from several threads and after a fork.

    >>> predictor = Predictor.load("runs/…/checkpoints/best.ckpt")  # doctest: +SKIP
    >>> predictor("A joy from start to finish.")  # doctest: +SKIP
    {'label': 'positive', 'score': 0.98, 'scores': {'negative': 0.02, 'positive': 0.98}}

    Args:
        members: the classifiers; labels have the order of the first.
        weights: weights of the members' probabilities; None weights them equally.
        temperature: what the combined logits are divided by.

    Attributes:
        members: as given.
        weights, temperature: as given.
        labels: names of the classes, in the order of the logits.
        text_column: name of the column with the texts in the training files.
        label_column: name of the column with the labels there.
        header: whether the training files begin with a row of column names.
        raw_labels: the labels as written in the training files, in the order of ``labels``.
        tokenizer: the tokenizer of the first member.
        coverage: how much of all texts so far is in the vocabulary of the first member; a new
            ``Coverage()`` in its place counts from the beginning.
        thresholds: (labels,), the lowest score with which each label is given; for a lower one the
            classifier abstains. None, as for several members, gives every text a label. It may be
            set.

    Raises:
        InputError: the members have different labels, or the weights are not positive numbers, one
            for each member.
    """

    def __init__(
        self,
        members: Sequence[Member],
        weights: Sequence[float] | None = None,
        temperature: float = 1.0,
    ) -> None:
        if isinstance(members, str | Path):
            raise TypeError(f"a path is opened by Predictor.load({str(members)!r})")
        first, *others = members
        for member in members:
            if sorted(member.labels) != sorted(first.labels):
                raise InputError(
                    f"{member.path}: its labels are {listed(member.labels)}, and those of"
                    f" {first.path} are {listed(first.labels)}; classifiers that predict"
                    " together need the same"
                )
        self.members = list(members)
        self.weights = _checked_weights(weights, len(members))
        self.temperature = temperature
        self.labels = first.labels
        data = first.data
        self.raw_labels = data.raw_labels
        self.text_column = data.text_column
        self.label_column = data.label_column
        self.header = data.header
        self.coverage = Coverage()
        alone = not others and temperature == 1
        self.thresholds = stored_thresholds(first.run, len(self.labels)) if alone else None
        self._make_tokenizers()

    def _make_tokenizers(self) -> None:
        settings = dict.fromkeys(member.tokenizer_settings for member in self.members)
        with without_torch():
            self._tokenizers = {each: Tokenizer(each) for each in settings}
        self.tokenizer = self._tokenizers[self.members[0].tokenizer_settings]

    def __getstate__(self) -> dict[str, Any]:
        # spaCy's objects are larger than many classifiers, and reading them imports torch.
        left_out = ("tokenizer", "_tokenizers")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._make_tokenizers()

    def __repr__(self) -> str:
        return f"<Predictor of {listed([str(member.path) for member in self.members])}>"

    @classmethod
    def load(
        cls,
        *paths: str | Path,
        device: str = "cpu",
        weights: Sequence[float] | None = None,
        threshold: float | None = None,
    ) -> "Predictor":
        """Load one or several checkpoints or ONNX files, or one ensemble; no other file is needed.

        A run folder stands for its best checkpoint. The probabilities of several are averaged;
        each has its own tokenizer.

        Args:
            paths: the files, or run folders.
            device: where networks of torch compute.
            weights: see ``Predictor``.
            threshold: of all labels, in place of ``thresholds``; with 0 every text gets a label.

        Raises:
            InputError: a file is missing, damaged, of another kind, or holds code; the device
                cannot be used; or the checkpoints do not fit together.
        """
        if not paths:
            raise TypeError("give the path of a checkpoint, or of several")
        first, *others = loaded = [load_members(path, device) for path in paths]
        for path, (_, own_weights, _) in zip(paths, loaded, strict=True):
            if own_weights is not None and (others or weights is not None):
                raise InputError(
                    f"{path}: an ensemble, which keeps its weights and temperature; give it alone"
                    " and without weights, or the checkpoints that it was made of"
                )
        if others:
            predictor = cls([member for each in loaded for member in each.members], weights)
        else:
            predictor = cls(first.members, first.weights or weights, first.temperature)
        if threshold is not None:
            predictor.thresholds = np.full(len(predictor.labels), threshold)
        return predictor

    @overload
    def __call__(self, texts: str) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, texts: Iterable[str]) -> list[Prediction]: ...

    def __call__(self, texts: str | Iterable[str]) -> Prediction | list[Prediction]:
        """Predict one text, or each of several: ``label``, its ``score``, and all ``scores``.

        Scores are probabilities (the softmax of calibrated logits). The result of a text does not
        depend on the others. ``tokens`` is the number of its tokens, and ``known_tokens`` that of
        those in the vocabulary (of the first member): scores of a text that has none say nothing. A
        blank text (empty, whitespace, invisible characters) has None as its label and score.
        With ``thresholds`` there is also ``abstained``; where it is true, ``label`` is None, and
        ``score`` that of the most probable label.

        Args:
            texts: a string or an ordered iterable of strings: a list, a generator, a file of lines,
                a column of a table. Some thousands are read at a time.

        Raises:
            TypeError: ``texts`` is neither.
            InputError: a text holds a lone surrogate.
        """
        if isinstance(texts, str):
            return self([texts])[0]
        answers: list[Prediction] = []
        for some, lengths, known, logits in self._read(texts):
            for text, scores, tokens, known_tokens in zip(
                some, softmax(logits).tolist(), lengths.tolist(), known.tolist(), strict=True
            ):
                counts = {"tokens": tokens, "known_tokens": known_tokens}
                answers.append(self._prediction(text, scores) | counts)
        return answers

    def explain(self, text: str, label: str | None = None) -> Explanation:
        """Say how much each token of a text speaks for or against a label.

        A network of a checkpoint is explained by integrated gradients, one of an ONNX file by
        replacing each token by an unknown word, a baseline by its weights; see
        ``sentiment.predict.gradients`` and ``Member.attributions``. For several classifiers the
        weights of a token are averaged.

        Args:
            text: the text.
            label: one of ``labels``; None is the most probable one.

        Raises:
            TypeError: ``text`` is not a string.
            InputError: there is no such label; the text is blank or holds a lone surrogate; or the
                members split texts into different tokens.
        """
        if not isinstance(text, str):
            raise TypeError(f"explain one text, a string, not {type(text).__name__}")
        if label is not None and label not in self.labels:
            raise InputError(f"label {label!r}: not a label; they are {listed(self.labels)}")
        if len(self._tokenizers) > 1:
            raise InputError(
                f"{listed([str(member.path) for member in self.members])} split texts into"
                " different tokens; explain by one of them"
            )
        encoded = self._encode([text], self.tokenizer.settings, 1)
        if is_blank(text):
            raise InputError("the text is blank: there is nothing to explain")
        # As many words that no vocabulary has.
        unknown = encoded._replace(words=[""] * len(encoded.words))
        logits, reference = (
            self.combine(self.member_logits([text], each)) for each in (encoded, unknown)
        )
        label = self.labels[logits[0].argmax()] if label is None else label
        each = [member.attributions(encoded, label) for member in self.members]
        index, cleaned = self.labels.index(label), self.tokenizer.clean(text)
        scores = softmax(logits)[0]
        best = int(scores.argmax())
        return Explanation(
            text=cleaned,
            label=label,
            score=float(scores[index]),
            log_odds=float(log_odds(logits, index)[0]),
            reference=float(log_odds(reference, index)[0]),
            tokens=tokens_of(
                cleaned,
                self.tokenizer.as_written(cleaned),
                (np.average(each, axis=0, weights=self.weights) / self.temperature).tolist(),
            ),
            abstained=self.thresholds is not None and self.abstains(best, float(scores[best])),
        )

    def logits(self, texts: Iterable[str]) -> Floats:
        """The calibrated logits of each text, (texts, classes) float32; see ``combine``.

        Raises:
            TypeError, InputError: see ``__call__``.
        """
        parts = [logits for *_, logits in self._read(texts)]
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *parts])

    def count_known(self, encoded: EncodedTexts) -> _Counts:
        """Count texts, tokenised by ``tokenizer``, in ``coverage``; returns their known tokens."""
        known = self.members[0].known_tokens(encoded)
        self.coverage.add(encoded.lengths, known)
        return known

    def member_logits(
        self, texts: Sequence[str], encoded: EncodedTexts | None = None, first: int = 1
    ) -> list[Floats]:
        """The logits of each member, (texts, classes), in the order of ``labels``.

        Args:
            texts: the texts.
            encoded: the same texts tokenised by ``tokenizer``, if they already are.
            first: the number of the first text in messages.

        Raises:
            TypeError: a text is not a string.
            InputError: a text holds a lone surrogate, or a logit is not finite.
        """
        if encoded is None:
            encoded = self._encode(texts, self.tokenizer.settings, first)
        known = {self.tokenizer.settings: encoded}
        found = []
        for member in self.members:
            settings = member.tokenizer_settings
            if settings not in known:
                known[settings] = self._encode(texts, settings, first)
            order = [member.labels.index(label) for label in self.labels]
            found.append(member.logits(known[settings])[:, order])
            if not (finite := np.isfinite(found[-1]).all(1)).all():
                index = int(finite.argmin())
                raise InputError(
                    f"{member.path}: gives no finite score for text {first + index},"
                    f" {shortened(texts[index])}: its weights are too large; use another checkpoint"
                )
        return found

    def combine(self, logits: Sequence[Floats]) -> Floats:
        """The logits of one classifier, or the log of several's mean probabilities.

        They are divided by ``temperature``.
        """
        combined = logits[0]
        if len(logits) > 1:
            weights = log_softmax(np.log(self.weights))[:, None, None]
            each = log_softmax(np.stack(logits)) + weights
            combined = np.logaddexp.reduce(each).astype(np.float32)
        divided: Floats = combined / np.float32(self.temperature)
        return divided

    def _read(self, texts: Iterable[str]) -> Iterator[tuple[list[str], _Counts, _Counts, Floats]]:
        """Yield some texts at a time, the numbers of tokens and of known ones, combined logits."""
        first = 1
        for some in _some_at_a_time(texts):
            encoded = self._encode(some, self.tokenizer.settings, first)
            logits = self.combine(self.member_logits(some, encoded, first))
            yield some, encoded.lengths, self.count_known(encoded), logits
            first += len(some)

    def _encode(
        self, texts: Sequence[str], settings: TokenizerSettings, first: int
    ) -> EncodedTexts:
        for number, text in enumerate(texts, first):
            if not isinstance(text, str):
                value = " ".join(shortened(text).split())
                raise TypeError(
                    f"text {number} must be a string, not {type(text).__name__}: {value}"
                    f"{_advice(text)}"
                )
        try:
            return self._tokenizers[settings].encode(texts)
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            number = next(number for number, text in enumerate(texts, first) if half in text)
            raise InputError(
                f"text {number} holds {half!r}, a lone surrogate, which is half of a character;"
                " decode the bytes it came from by their right encoding"
            ) from error

    def _prediction(self, text: str, scores: list[float]) -> Prediction:
        best = max(range(len(scores)), key=scores.__getitem__)
        blank = is_blank(text)
        abstained = not blank and self.abstains(best, scores[best])
        return {
            "label": None if blank or abstained else self.labels[best],
            **({} if self.thresholds is None else {"abstained": abstained}),
            "score": None if blank else scores[best],
            "scores": dict(zip(self.labels, scores, strict=True)),
        }

    def abstains(self, index: int, score: float) -> bool:
        """Whether a score is too low for the label with an index in ``labels``."""
        return self.thresholds is not None and bool(score < self.thresholds[index])


def _some_at_a_time(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in groups that are bounded in number and, but for the last text, in length."""
    some: list[str] = []
    characters = 0
    for text in _in_order(texts):
        some.append(text)
        characters += len(text) if isinstance(text, str) else 0  # others are an error later
        if len(some) == TEXTS_AT_A_TIME or characters > CHARACTERS_AT_A_TIME:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _in_order(texts: Iterable[str]) -> Iterator[str]:
    """Iterate over texts.

    Raises:
        TypeError: these are not ordered texts; the message says what to give instead.
    """
    instead = ""
    if hasattr(texts, "columns"):  # a table of pandas or another library
        instead = '; give one of its columns, such as df["text"]'
    elif hasattr(texts, "to_pylist"):  # an array of Arrow
        instead = "; give texts.to_pylist()"
    elif isinstance(texts, Mapping):
        instead = "; give its values, list(d.values())"
    elif isinstance(texts, (set, frozenset)):
        instead = ", which has no order; give a list, such as sorted(texts)"
    elif isinstance(texts, (bytes, bytearray, memoryview)):
        instead = "; decode it first, texts.decode()"
    if not instead:
        try:
            return iter(texts)
        except TypeError:  # also for an array without dimensions
            pass
    raise TypeError(f"give a string or a list of strings, not {type(texts).__name__}{instead}")


def _advice(value: object) -> str:
    """What to give instead of a value that is not a string, for the end of a message."""
    if value is None or str(value) in {"nan", "<NA>", "NaT"}:
        return '; leave missing texts out, texts.dropna() in pandas, or give "", texts.fillna("")'
    if isinstance(value, (bytes, bytearray)):
        return "; decode it first, text.decode()"
    if isinstance(value, Mapping):
        return "; give its text alone"
    if isinstance(value, (list, tuple, np.ndarray)):
        return "; give one flat list of strings"
    return "; give str(text) if it is a text" if np.isscalar(value) else ""


def _checked_weights(weights: Sequence[float] | None, members: int) -> list[float]:
    weights = [1.0] * members if weights is None else list(weights)
    if len(weights) != members:
        raise InputError(
            f"{len(weights)} weights for {members} checkpoints; give one for each, in their order"
        )
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        listed = " ".join(f"{weight:g}" for weight in weights)
        raise InputError(f"weights {listed}: all must be numbers above 0")
    return weights
