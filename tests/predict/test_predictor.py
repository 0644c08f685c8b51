import io
import multiprocessing
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sentiment import Predictor
from sentiment.model.classifier import SentimentClassifier
from sentiment.predict import member
from sentiment.predict import predictor as predictor_module
from sentiment.predict.checkpoint import DATA_KEY
from sentiment.predict.coverage import Coverage
from sentiment.predict.logits import softmax
from sentiment.predict.torch_network import TorchNetwork
from sentiment.runtime.errors import InputError
from sentiment.train.module import SentimentModule

GOOD = "the film number 1 was lovely , and so was act 1"
BAD = "the film number 2 was awful , and so was act 2"


def test_a_string_gives_a_prediction_and_a_list_a_list(predictor: Predictor) -> None:
    one = predictor(GOOD)
    assert one["label"] == "lovely"
    assert one["score"] == max(one["scores"].values())
    assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-6)
    assert [answer["label"] for answer in predictor([BAD, GOOD, BAD])] == [
        "awful", "lovely", "awful",
    ]  # fmt: skip
    assert predictor([]) == []
    assert predictor("")["scores"] == predictor("qwertyuiop")["scores"]  # both are one unknown word


def test_a_result_counts_the_tokens_that_are_known(predictor: Predictor) -> None:
    some, none, markup = predictor(["the film was qwertyuiop", "qwertyuiop asdfgh", "<br />"])
    assert (some["tokens"], some["known_tokens"]) == (4, 3)
    assert (none["tokens"], none["known_tokens"]) == (2, 0)
    assert (markup["tokens"], markup["known_tokens"]) == (0, 0)
    assert markup["label"] == none["label"] is not None  # both are one unknown word


def test_texts_are_counted_from_where_the_caller_begins(predictor: Predictor) -> None:
    predictor.coverage = Coverage()
    predictor(["qwertyuiop", GOOD])
    assert predictor.coverage == Coverage(texts=2, unknown_texts=1, tokens=13, known=12)
    predictor.coverage = Coverage()
    predictor.logits([GOOD])
    assert predictor.coverage == Coverage(texts=1, tokens=12, known=12)


@pytest.mark.parametrize("blank", ["", " \t", "\u200b", "\n"])
def test_a_blank_text_has_no_label(predictor: Predictor, blank: str) -> None:
    answer, other = predictor([blank, GOOD])
    assert (answer["label"], answer["score"]) == (None, None)
    assert other["label"] == "lovely"


def test_a_result_never_depends_on_its_neighbours(predictor: Predictor) -> None:
    alone = predictor.logits([GOOD])
    among = predictor.logits([BAD * 50, GOOD, "", BAD * 300])[1:2]
    np.testing.assert_allclose(alone, among, atol=1e-5, rtol=0)


def test_a_batch_that_memory_cannot_hold_is_halved(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, texts = Predictor.load(checkpoint), [GOOD, BAD, BAD * 3, GOOD * 2, ""]
    expected = predictor.logits(texts)
    whole, most = SentimentClassifier.forward, 2

    def forward(self: SentimentClassifier, token_ids: torch.Tensor, *others: Any) -> torch.Tensor:
        if len(token_ids) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(self, token_ids, *others)

    monkeypatch.setattr(SentimentClassifier, "forward", forward)
    np.testing.assert_allclose(predictor.logits(texts), expected, rtol=1e-5)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        predictor.logits([GOOD])


KINDS: list[Callable[[list[str]], Any]] = [
    tuple, iter, np.array, pd.Series, deque, pd.Index,
    lambda texts: np.array(texts, object),
    lambda texts: pd.Series(texts, dtype="string"),
    lambda texts: pd.Series(texts, dtype="category"),
    lambda texts: pd.Series(texts, index=[7] * len(texts)),
    lambda texts: dict.fromkeys(texts).keys(),
    lambda texts: (text for text in texts),
    lambda texts: io.StringIO("\n".join(texts)),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_texts_may_be_any_strings_in_an_order(
    predictor: Predictor, kind: Callable[[list[str]], Any]
) -> None:
    answers = predictor(kind([BAD, GOOD, BAD + " again"]))
    assert [answer["label"] for answer in answers] == ["awful", "lovely", "awful"]


@pytest.mark.parametrize(
    ("texts", "fact"),
    [
        (None, "not NoneType"), (5, "not int"), (np.array("a"), "not ndarray"),
        (float("nan"), "not float"), (True, "not bool"),
        ({"a": "b"}, r"dict; .*values"), (pd.DataFrame({"text": ["a"]}), r'DataFrame; .*df\["text'),
        ({"a", "b"}, "not set.* order"), (b"a", "bytes; .*decode"),
        ([GOOD, float("nan")], r"text 2 .*not float: nan; .*dropna\(\).*fillna"),
        (pd.Series([GOOD, None]), "text 2 .*not float: nan; .*fillna"),
        (pd.Series([GOOD, None], dtype="string"), "text 2 .*not NAType: .*fillna"),
        ([None], "text 1 .*not NoneType: .*missing"),
        ([b"a"], "text 1 .*not bytes.*decode"), ([["a"]], "not list.*flat list"),
        ([{"text": "a"}], "text 1 .*not dict.*its text"),
        ([pd.DataFrame({"a": ["b"]})], "not DataFrame"),
        (np.array([["a"]]), "text 1 .*not ndarray.*flat list"),
        (np.array([1.5]), r"text 1 .*not float64: .*str\(text\)"),
        ((text for text in [*[GOOD] * 4, 5]), r"text 5 .*not int: 5; .*str\(text\)"),
    ],
)  # fmt: skip
def test_only_strings_are_texts(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, texts: Any, fact: str
) -> None:
    monkeypatch.setattr(predictor_module, "TEXTS_AT_A_TIME", 3)
    with pytest.raises(TypeError, match=fact) as caught:
        predictor(texts)
    assert "\n" not in str(caught.value)


def test_arrays_of_arrow_are_lists_first(predictor: Predictor) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    texts = pyarrow.array([BAD, GOOD])
    with pytest.raises(TypeError, match=r"StringArray; .*to_pylist\(\)"):
        predictor(texts)
    assert [answer["label"] for answer in predictor(texts.to_pylist())] == ["awful", "lovely"]


def test_many_texts_are_read_some_at_a_time(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [GOOD, BAD, "", GOOD * 9, BAD, GOOD, "so was act 3"]
    whole = predictor.logits(texts)
    monkeypatch.setattr(predictor_module, "TEXTS_AT_A_TIME", 3)
    np.testing.assert_allclose(predictor.logits(iter(texts)), whole, atol=1e-6, rtol=0)
    assert predictor.logits([]).shape == (0, 2)
    monkeypatch.setattr(predictor_module, "CHARACTERS_AT_A_TIME", 60)
    np.testing.assert_allclose(predictor.logits(iter(texts)), whole, atol=1e-6, rtol=0)
    with pytest.raises(InputError, match=r"text 5 .*'\\ud800'"):
        predictor([*[GOOD] * 4, "a \ud800 b"])


def test_a_checkpoint_without_a_limit_reads_the_beginning_of_a_huge_text(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "LIMIT_WITHOUT_MAX_LENGTH", 24)
    old = Predictor.load(changed(checkpoint, tmp_path / "old.ckpt", max_length=None))
    same = Predictor.load(checkpoint)
    twice = f"{GOOD} {BAD}"  # 24 tokens
    np.testing.assert_array_equal(old.logits([f"{twice} " * 9]), same.logits([twice]))


def test_a_forked_process_predicts(predictor: Predictor) -> None:
    """The parent has computed in several threads, which a fork does not copy."""
    texts = [GOOD * 9, BAD * 9] * 64
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = predictor(texts)
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(
            target=lambda: sender.send(predictor(texts)[1]["label"])
        )
        child.start()
        try:
            assert receiver.poll(60)
            assert receiver.recv() == before[1]["label"]
        finally:
            child.kill()  # where it hangs
            child.join()
    finally:
        torch.set_num_threads(threads)


def test_a_checkpoint_cleans_as_it_was_trained(checkpoint: Path, tmp_path: Path) -> None:
    tokenizer = torch.load(checkpoint, weights_only=True)[DATA_KEY]["tokenizer"]
    assert tokenizer.pop("cleaning") == 2
    old = Predictor.load(changed(checkpoint, tmp_path / "old.ckpt", tokenizer=tokenizer))
    new = Predictor.load(checkpoint)
    hidden = GOOD.replace("lovely", "\u200blovely\u200b")
    unknown = GOOD.replace("lovely", "qwertyuiop")
    # One word that is not known.
    np.testing.assert_array_equal(old.logits([hidden]), old.logits([unknown]))
    np.testing.assert_array_equal(new.logits([hidden]), new.logits([GOOD]))
    np.testing.assert_array_equal(old.logits([GOOD, BAD]), new.logits([GOOD, BAD]))
    for cleaning in (0, 3, "2", True):
        other = changed(
            checkpoint, tmp_path / "x.ckpt", tokenizer=tokenizer | {"cleaning": cleaning}
        )
        with pytest.raises(InputError, match=r"x\.ckpt: .*cleaning") as caught:
            Predictor.load(other)
        assert "\n" not in str(caught.value)


def test_lightning_loads_the_checkpoint_without_further_arguments(
    checkpoint: Path, predictor: Predictor
) -> None:
    classifier = predictor.members[0].classifier
    assert isinstance(classifier, TorchNetwork)
    module = SentimentModule.load_from_checkpoint(checkpoint).eval()
    ids, lengths = torch.tensor([[2, 3, 4]]), torch.tensor([3])
    with torch.no_grad():
        torch.testing.assert_close(module(ids, lengths), classifier.module(ids, lengths))


@pytest.fixture(scope="module")
def paths(checkpoint: Path, baselines: Path) -> list[Path]:
    return [checkpoint, *(baselines / name / "checkpoints" / "best.ckpt"
                          for name in ("tfidf", "naive_bayes"))]  # fmt: skip


def test_a_baseline_predicts(paths: list[Path]) -> None:
    predict = Predictor.load(paths[1])
    assert [answer["label"] for answer in predict([BAD, GOOD])] == ["awful", "lovely"]
    assert sum(predict("")["scores"].values()) == pytest.approx(1, abs=1e-6)


def test_several_give_the_weighted_mean_of_their_probabilities(paths: list[Path]) -> None:
    texts = [GOOD, "", BAD * 50, "so was act 3"]
    each = np.stack([softmax(Predictor.load(path).logits(texts)) for path in paths])
    together = Predictor.load(*paths)
    np.testing.assert_allclose(softmax(together.logits(texts)), each.mean(0), rtol=1e-5)
    fractions = np.array([0.5, 0.25, 0.25])[:, None, None]
    weighted = Predictor.load(*paths, weights=[2, 1, 1])
    np.testing.assert_allclose(
        softmax(weighted.logits(texts)), (fractions * each).sum(0), rtol=1e-5
    )
    np.testing.assert_allclose(together.logits(texts[:1]), together.logits(texts)[:1], rtol=1e-5)


def changed(path: Path, to: Path, **data: Any) -> Path:
    """A checkpoint with other data settings."""
    whole = torch.load(path, weights_only=True)
    torch.save(whole | {DATA_KEY: whole[DATA_KEY] | data}, to)
    return to


def test_labels_go_together_by_name(paths: list[Path], tmp_path: Path) -> None:
    names = ["lovely", "awful"]
    turned = changed(paths[1], tmp_path / "turned.ckpt", labels=names, raw_labels=names)
    lovely = [Predictor.load(*pair)(GOOD)["scores"]["lovely"]
              for pair in ((paths[1],), (turned,), (paths[1], turned))]  # fmt: skip
    assert lovely[0] == pytest.approx(1 - lovely[1])
    assert lovely[2] == pytest.approx(0.5)
    assert Predictor.load(turned, paths[0]).labels == names
    other = changed(paths[1], tmp_path / "other.ckpt", labels=["a", "b"])
    with pytest.raises(InputError, match=r"other\.ckpt: .* a, b.*lovely"):
        Predictor.load(paths[0], other)


def test_each_member_has_tokens_of_its_own(paths: list[Path], tmp_path: Path) -> None:
    settings = torch.load(paths[0], weights_only=True)[DATA_KEY]["tokenizer"]
    cased = changed(paths[0], tmp_path / "c.ckpt", tokenizer=settings | {"lowercase": False})
    shout = GOOD.upper()
    alone = [softmax(Predictor.load(path).logits([shout])) for path in (paths[0], cased)]
    assert (alone[0] != alone[1]).any()  # capitals are unknown words to one of them
    for pair in ((paths[0], cased), (cased, paths[0])):
        together = Predictor.load(*pair)
        mean = np.stack(alone).mean(0)
        np.testing.assert_allclose(softmax(together.logits([shout])), mean, rtol=1e-5)
        encoded = together.tokenizer.encode([shout])
        again = softmax(together.combine(together.member_logits([shout], encoded)))
        np.testing.assert_allclose(again, mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "fact"),
    [([1.0], "1 weights for 2"), ([1.0, 0.0], "weights 1 0"), ([1.0, float("nan")], "nan")],
)
def test_weights_that_cannot_be_are_refused(
    paths: list[Path], weights: list[float], fact: str
) -> None:
    with pytest.raises(InputError, match=fact):
        Predictor.load(*paths[:2], weights=weights)


@pytest.mark.parametrize(
    ("kind", "weights", "fact"),
    [
        (0, {"classifier.head.1.bias": 3e38, "classifier.temperature": 0.5}, "text 1, 'qwertz'"),
        (1, {"weights": 3e38}, "text 2, 'the film"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_no_text_gets_a_score_that_is_no_number(
    paths: list[Path], tmp_path: Path, kind: int, weights: dict[str, float], fact: str
) -> None:
    whole, path = torch.load(paths[kind], weights_only=True), tmp_path / "huge.ckpt"
    for name, value in weights.items():  # finite, but what they come to is not
        whole["state_dict"][name].fill_(value)
    torch.save(whole, path)
    with pytest.raises(InputError, match=rf"huge\.ckpt: .*finite .*{fact}"):
        Predictor.load(path)(["qwertz", GOOD])


def test_texts_of_other_lengths_add_little_padding(predictor: Predictor) -> None:
    texts = [" ".join(["lovely"] * length) for length in (*range(1, 60), 400, 900)]
    shapes: list[torch.Size] = []
    network = predictor.members[0].classifier
    assert isinstance(network, TorchNetwork)
    hook = network.module.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    try:
        together = predictor(texts)
    finally:
        hook.remove()
    assert sum(len(text.split()) for text in texts) <= sum(shape.numel() for shape in shapes)
    assert sum(shape.numel() for shape in shapes) < 2 * sum(len(text.split()) for text in texts)
    assert sum(shape[1] for shape in shapes) < 3 * 900  # few batches
    for text, found in zip(texts, together, strict=True):
        assert found["scores"] == pytest.approx(predictor(text)["scores"], abs=1e-5)
