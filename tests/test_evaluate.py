import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sentiment.evaluate import main


def test_a_checkpoint_gives_the_figures_of_its_training(trained: Path, capsys: Any) -> None:
    results = json.loads((trained / "results.json").read_text())
    checkpoint = trained / "checkpoints" / "best.ckpt"
    main([str(checkpoint), str(trained / "splits" / "test.csv"), "--json"])
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated.keys() - results.keys() == set()
    for name in ("test/accuracy", "test/f1", "test/auroc", "test/loss", "val/accuracy"):
        assert evaluated[name] == pytest.approx(results[name], abs=1e-6), name
    for name in ("labels", "vocabulary_size", "train_reviews", "test_reviews", "seed", "versions"):
        assert evaluated[name] == results[name], name
    main([str(checkpoint), str(trained / "splits" / "test.csv")])
    assert "100.00 %" in capsys.readouterr().out


def test_what_a_file_lacks_is_told(trained: Path, tmp_path: Path, capsys: Any) -> None:
    table = pd.read_csv(trained / "splits" / "test.csv")
    table = table[table["sentiment"] == "lovely"]
    table.loc[table.index[0], "sentiment"] = None
    table.to_csv(tmp_path / "r.csv", index=False)
    main([str(trained / "checkpoints" / "best.ckpt"), str(tmp_path / "r.csv"), "--json"])
    told = capsys.readouterr()
    evaluated = json.loads(told.out)
    assert evaluated["test/auroc"] is None
    assert evaluated["dropped_missing"] == 1
    assert evaluated["test_reviews"] == len(table) - 1
    assert told.err == (
        "note: no row has the label awful; F1 and AUROC are of the others\n"
        "note: 1 rows left out for a missing text or label\n"
    )


def test_a_label_of_another_kind_is_refused(trained: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "r.csv"
    pd.DataFrame({"text": ["a", "b"], "stars": ["awful", "grand"]}).to_csv(path, index=False)
    options = ["--text-column", "text", "--label-column", "stars"]
    with pytest.raises(SystemExit) as stopped:
        main([str(trained / "checkpoints" / "best.ckpt"), str(path), *options])
    assert stopped.value.code == 2
    assert "row 2: label 'grand'" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_refused(trained: Path, capsys: Any) -> None:
    checkpoint, reviews = trained / "checkpoints" / "best.ckpt", trained / "splits" / "test.csv"
    with pytest.raises(SystemExit) as stopped:
        main([str(checkpoint), str(reviews), "--device", "foo"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: device 'foo'")
    assert error.count("\n") == 1
