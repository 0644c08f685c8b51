import html
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sentiment import Predictor
from sentiment.model.classifier import Inputs, SentimentClassifier
from sentiment.model.encoder import CELLS
from sentiment.predict.command import main
from sentiment.predict.explanation import Explanation, Token, tokens_of
from sentiment.predict.gradients import integrated_gradients
from sentiment.predict.logits import log_odds
from sentiment.predict.member import Member
from sentiment.runtime.errors import InputError

GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Path, tmp_path_factory: Any) -> Path:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'sentiment[onnx]'")
    from sentiment.export.run import export

    path: Path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(checkpoint, path)
    return path


def reading(predictor: Predictor, max_length: int) -> Predictor:
    """The predictor, which reads this many tokens of a text."""
    (own,) = predictor.members
    data = replace(own.data, max_length=max_length)
    return Predictor([Member(own.classifier, data, own.run, own.path)])


def weights_of(explanation: Explanation) -> dict[str, float]:
    return {token.token: token.weight for token in explanation.tokens}


def deciding(explanation: Explanation) -> str:
    return explanation.heaviest(1)[0].token


def network(seed: int = 0, **settings: Any) -> SentimentClassifier:
    """A network with random weights and, if it reads n-grams, known words and pairs."""
    torch.manual_seed(seed)
    classifier = SentimentClassifier(
        vocabulary_size=20, num_classes=3, embedding_size=6, hidden_size=5, **settings
    )
    for weights in classifier.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    if classifier.ngrams is not None:
        keys = torch.arange(2, 12), torch.tensor([0 * 20 + 3, 2 * 20 + 5])  # (2, 3) and (4, 5)
        values = torch.randn(12, 6)
        classifier.ngrams.load(keys, values, torch.zeros(6, 12, 6))
    classifier.temperature.fill_(1.5)
    return classifier.eval().requires_grad_(False)


def by_many_steps(
    classifier: SentimentClassifier, ids: list[int], label: int, steps: int = 150
) -> np.ndarray:
    """Integrated gradients by their definition, without the n-grams' part: the midpoint rule."""
    lengths = torch.tensor([len(ids)])
    given = classifier.read(torch.tensor([ids]), lengths)
    unknown = classifier.read(torch.ones(1, len(ids), dtype=torch.long), lengths)
    total = torch.zeros(len(ids))
    for step in range(steps):
        at = (step + 0.5) / steps
        words = (unknown.words + at * (given.words - unknown.words)).requires_grad_()
        features = None
        if given.features is not None:
            features = (at * given.features.float()).requires_grad_()
        logits = classifier.classify(Inputs(words, features, lengths, given.mask)) / 1.5
        others = [each for each in range(3) if each != label]
        odds = logits[0, label] - logits[0, others].logsumexp(0)
        slopes = torch.autograd.grad(odds, [words] if features is None else [words, features])
        moved = slopes[0] * (given.words - unknown.words)  # (time, 1, 6)
        total += moved[:, 0].sum(-1) / steps
        if given.features is not None:
            each = (slopes[1] * given.features)[:, 0] / steps  # (time, 2 * 6)
            total += each[:, :6].sum(-1) + each[:, 6:].sum(-1) / 2
            total[:-1] += each[1:, 6:].sum(-1) / 2
    return total.numpy()


@pytest.mark.parametrize("ngrams", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_integrated_gradients_are_what_their_definition_says(cell: str, ngrams: int) -> None:
    classifier = network(cell=cell, ngrams=ngrams, ngram_sizes=[10, 2][:ngrams], num_layers=2)
    ids = [2, 3, 1, 4, 5, 19, 2]
    found = integrated_gradients(classifier, np.array(ids), 1)
    expected = by_many_steps(classifier, ids, 1)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).sum())
    logits = classifier(torch.tensor([ids, [1] * 7]), torch.tensor([7, 7])).numpy()
    whole, reference = log_odds(logits, 1)
    assert found.sum() == pytest.approx(whole - reference, abs=1e-5)


def test_the_word_that_decides_weighs_most(predictor: Predictor) -> None:
    for text, word, other in ((GOOD, "lovely", "awful"), (BAD, "awful", "lovely")):
        explanation = predictor.explain(text)
        assert explanation.label == deciding(explanation) == word
        assert explanation.score == pytest.approx(predictor(text)["score"], abs=1e-6)
        assert weights_of(explanation)[word] > 0
        against = predictor.explain(text, other)
        opposite = pytest.approx(-weights_of(explanation)[word], rel=1e-3)
        assert weights_of(against)[word] == opposite


def test_weights_add_up_to_the_log_odds(predictor: Predictor) -> None:
    for text in (GOOD, "qwertyuiop", "lovely", BAD * 20):
        explanation = predictor.explain(text)
        total = sum(token.weight for token in explanation.tokens)
        assert total == pytest.approx(explanation.log_odds - explanation.reference, abs=1e-4)


def test_an_onnx_file_is_explained_by_what_unknown_words_change(onnx_file: Path) -> None:
    predictor = Predictor.load(onnx_file)
    explanation = predictor.explain(GOOD)
    assert deciding(explanation) == "lovely"
    without = predictor.explain(GOOD.replace("lovely", "qwertyuiop"), "lovely")
    fall = explanation.log_odds - without.log_odds
    assert weights_of(explanation)["lovely"] == pytest.approx(fall, abs=1e-4)


def test_a_long_text_is_occluded_in_groups(onnx_file: Path) -> None:
    predictor = reading(Predictor.load(onnx_file), 10_000)
    text = "lovely and awful " + "so " * 603
    explanation = predictor.explain(text, "lovely")
    weights = [token.weight for token in explanation.tokens]
    assert len(weights) == 606
    without = predictor.explain(text.replace("lovely and awful", "qwerty uiop asdf"), "lovely")
    fall = explanation.log_odds - without.log_odds
    assert weights[:3] == pytest.approx(3 * [fall / 3], 1e-3)


@pytest.mark.parametrize("kind", ["naive_bayes", "tfidf"])
def test_the_weights_of_a_baseline_are_exact(baselines: Path, kind: str) -> None:
    (path,) = baselines.glob(f"**/{kind}/**/*.ckpt")
    predictor = Predictor.load(path)
    for text in (GOOD, f"{GOOD} . lovely lovely", "qwertyuiop", "a"):
        explanation = predictor.explain(text)
        total = sum(token.weight for token in explanation.tokens)
        assert total == pytest.approx(explanation.log_odds - explanation.reference, abs=1e-4)
    assert deciding(predictor.explain(GOOD)) == "lovely"


def test_the_weights_of_several_are_averaged(checkpoint: Path, baselines: Path) -> None:
    paths = [checkpoint, *baselines.glob("**/naive_bayes/**/*.ckpt")]
    each = [weights_of(Predictor.load(path).explain(GOOD))["lovely"] for path in paths]
    found = weights_of(Predictor.load(*paths, weights=[3, 1]).explain(GOOD))["lovely"]
    assert found == pytest.approx((3 * each[0] + each[1]) / 4, abs=1e-4)


def test_tokens_that_are_not_read_weigh_nothing(predictor: Predictor) -> None:
    weights = [token.weight for token in reading(predictor, 5).explain(GOOD).tokens]
    assert all(weights[:5])
    assert not any(weights[5:])


def test_tokens_are_found_in_the_text_as_written(predictor: Predictor) -> None:
    text = "<b>LOVELY</b>&amp; the  Film\u200b wasn't\n<br />it \u2026 Lovely"
    explanation = predictor.explain(text)
    assert explanation.text == "LOVELY & the Film wasn't it \u2026 Lovely"
    for token in explanation.tokens:
        assert explanation.text[token.start : token.end] == token.token
    assert [token.token for token in explanation.tokens] == explanation.text.replace(
        "n't", " n't"
    ).split()


def test_a_text_without_tokens_has_no_weights(predictor: Predictor) -> None:
    assert predictor.explain("<br />").tokens == []


def test_what_cannot_be_explained_is_refused(predictor: Predictor) -> None:
    with pytest.raises(InputError, match=r"'joyful'.*awful.*lovely"):
        predictor.explain(GOOD, "joyful")
    with pytest.raises(InputError, match="blank"):
        predictor.explain(" \t")
    with pytest.raises(TypeError, match="one text, a string, not list"):
        predictor.explain([GOOD])  # type: ignore[arg-type]


def test_markup_of_a_text_stays_text() -> None:
    text = "<script>alert(1)</script> & co"
    explanation = Explanation(
        text, "<b>", 0.9, 2.0, 0.0, tokens_of(text, ["<script>", "alert(1)"], [1.0, -2.0])
    )
    shown = explanation.as_html()
    assert "<script" not in shown
    assert "<b>" not in shown
    assert text in html.unescape(re.sub(r"</?(span|p|small|section|strong)\b[^>]*>", "", shown))


def test_colours_go_by_sign_and_strength() -> None:
    explanation = Explanation(
        "a b c", "x", 0.9, 2.0, 0.0, tokens_of("a b c", ["a", "b", "c"], [2.0, -1.0, 0.01])
    )
    strengths = re.findall(r"rgba\((\d+),\d+,\d+,(\d\.\d+)\)", explanation.as_html())
    assert [float(strength) for _, strength in strengths] == [1.0, 0.5]
    assert strengths[0][0] != strengths[1][0]
    assert re.sub(r"\x1b\[[\d;]*m", "", explanation.as_ansi()).split("\n")[1] == "a b c"
    assert explanation.summary(2) == "a +2.00, b -1.00"
    assert "a +2.00, b -1.00" in repr(explanation)


def test_the_command_explains_texts(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    page = tmp_path / "why.html"
    main([str(checkpoint), "--html", str(page), GOOD, "", "lovely <i>"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["explanation" in line for line in lines] == [True, False, True]
    tokens = lines[0]["explanation"]["tokens"]
    assert max(tokens, key=lambda token: token["weight"])["token"] == "lovely"
    assert page.read_text().count("<section>") == 2


def test_a_page_is_never_written_over_something_else(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    own = tmp_path / "own.html"
    own.symlink_to(checkpoint)
    for page, fact in ((checkpoint, ".html"), (Path("-"), ".html"), (own, "the checkpoint")):
        with pytest.raises(SystemExit):
            main([str(checkpoint), "--html", str(page), GOOD])
        assert fact in capsys.readouterr().err
    assert Predictor.load(checkpoint)(GOOD)["label"] == "lovely"


def test_a_terminal_gets_colours_unless_it_wants_none(
    checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main([str(checkpoint), "--explain", GOOD])
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    main([str(checkpoint), "--explain", GOOD])
    assert json.loads(capsys.readouterr().out)["label"] == "lovely"


def test_a_csv_gets_a_column_with_the_heaviest_words(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    source = tmp_path / "in.csv"
    source.write_text(f'review\n"{GOOD}"\n""\n"{BAD}"\n')
    main([str(checkpoint), "--csv", str(source), "--out", "-", "--explain"])
    header, first, second, third = capsys.readouterr().out.splitlines()
    assert header.endswith('"explanation"')
    assert [row.split('"')[7].split(" ")[0] for row in (first, second, third)] == [
        "lovely", "", "awful",
    ]  # fmt: skip
    source.write_text("review,explanation\na,b\n")
    with pytest.raises(SystemExit):
        main([str(checkpoint), "--csv", str(source), "--out", "-", "--explain"])
    assert "explanation already" in capsys.readouterr().err


def test_a_text_without_a_label_is_shown_as_that(abstaining: Path) -> None:
    predictor = Predictor.load(abstaining)
    explanation = predictor.explain("the film was lovely")
    assert explanation.abstained
    assert "<strong>no label</strong> (lovely " in explanation.as_html()
    assert "no label" in explanation.as_ansi()
    predictor.thresholds = None
    assert "no label" not in predictor.explain("the film was lovely").as_html()


def test_words_that_hardly_matter_have_hardly_a_colour() -> None:
    tokens = [Token("a", 0, 1, 0.005), Token("film", 2, 6, -0.04)]
    faint = Explanation("a film", "good", 0.5, 0.0, 0.0, tokens)
    assert "0.16)" in faint.coloured()
    assert faint.coloured().count("<span") == 1
