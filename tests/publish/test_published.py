import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import TINY, write_reviews
from sentiment import InputError, Predictor, train
from sentiment.publish.command import main, publish

TEXTS = ["the film number 3 was lovely , and so was act 1", "awful", "unheard of", ""]


def folder_of(tmp_path: Path, checkpoint: Path) -> Path:
    publish(checkpoint, tmp_path / "published")
    return tmp_path / "published"


def test_a_network_with_ngrams_predicts_the_same(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path / "reviews.csv", 60)
    given = {"data.csv": reviews, "model.ngrams": 2, "trainer.max_epochs": 1}
    run = train(*TINY, given, folder=tmp_path / "run", quiet=True)
    published = Predictor.load(folder_of(tmp_path, run.folder))
    assert published(TEXTS) == run.predictor(TEXTS)
    assert (published.labels, published.text_column) == (["awful", "lovely"], "review")


@pytest.mark.parametrize("weighting", ["tfidf", "naive_bayes"])
def test_a_baseline_predicts_the_same(tmp_path: Path, baselines: Path, weighting: str) -> None:
    published = Predictor.load(folder_of(tmp_path, baselines / weighting))
    np.testing.assert_array_equal(
        published.logits(TEXTS), Predictor.load(baselines / weighting).logits(TEXTS)
    )


def test_thresholds_go_along(tmp_path: Path, abstaining: Path) -> None:
    published = Predictor.load(folder_of(tmp_path, abstaining))
    assert published.thresholds is not None
    assert published.thresholds.tolist() == [0.625, np.inf]
    assert "`abstained`" in (tmp_path / "published" / "README.md").read_text()


def test_the_card_says_what_the_run_knows(tmp_path: Path, trained: Path) -> None:
    publish(trained, tmp_path / "published", name="me/reviews", license_name="mit")
    card = (tmp_path / "published" / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    results = json.loads((trained / "results.json").read_text())
    assert (facts["license"], facts["language"]) == ("mit", "en")
    (accuracy, _) = facts["model-index"][0]["results"][0]["metrics"]
    assert accuracy["value"] == pytest.approx(results["test/accuracy"], abs=1e-4)
    assert "# me/reviews" in body
    assert f"{100 * results['test/accuracy']:.2f} %" in body
    assert results["fingerprints"]["test"] in body
    assert str(trained) not in card


def test_a_checkpoint_alone_has_a_card_without_results(tmp_path: Path, checkpoint: Path) -> None:
    card = (folder_of(tmp_path, checkpoint) / "README.md").read_text()
    assert "without the results of a test" in card


def test_other_files_are_not_mixed_with_a_publication(tmp_path: Path, checkpoint: Path) -> None:
    folder = folder_of(tmp_path, checkpoint)
    publish(checkpoint, folder)  # again
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        publish(checkpoint, tmp_path / "other")


def _later(config: dict[str, Any]) -> None:
    config["format"] = 2


def _other_size(config: dict[str, Any]) -> None:
    config["settings"]["hidden_size"] = 9


def _no_labels(config: dict[str, Any]) -> None:
    del config["data"]["labels"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [(_later, "install a newer"), (_other_size, "cannot be opened"), (_no_labels, "'labels'")],
)
def test_a_changed_config_is_one_line(
    tmp_path: Path, checkpoint: Path, change: Any, expected: str
) -> None:
    folder = folder_of(tmp_path, checkpoint)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=expected) as caught:
        Predictor.load(folder)
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_one_line(tmp_path: Path, checkpoint: Path) -> None:
    folder = folder_of(tmp_path, checkpoint)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="get its files again"):
        Predictor.load(folder)


def test_the_command_refuses_in_one_line(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nothere.ckpt"), str(tmp_path / "x")])
    assert "no such checkpoint" in capsys.readouterr().err
    main([str(checkpoint), str(tmp_path / "x")])
    out = capsys.readouterr().out
    assert str(tmp_path / "x") in out
    assert "earlier" not in out
    main([str(checkpoint), str(tmp_path / "x")])
    assert "in place of the earlier publication" in capsys.readouterr().out
