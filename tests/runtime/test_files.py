import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sentiment.runtime import files
from sentiment.runtime.files import (
    folder_when_whole,
    is_table,
    one_at_a_time,
    remove_leftovers,
    replaced_when_whole,
    similar_file,
)


def test_a_file_is_replaced_only_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replaced_when_whole(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    with pytest.raises(RuntimeError), replaced_when_whole(path) as temporary:
        temporary.write_text("tw")
        raise RuntimeError
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_of_two_folders_the_first_wins(tmp_path: Path) -> None:
    with folder_when_whole(tmp_path / "a") as slow:
        (slow / "x").write_text("slow")
        with folder_when_whole(tmp_path / "a") as fast:
            (fast / "x").write_text("fast")
    assert (tmp_path / "a" / "x").read_text() == "fast"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(RuntimeError), folder_when_whole(tmp_path / "b"):
        raise RuntimeError
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with replaced_when_whole(path) as part:
            part.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_put_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OSError, match="a"), folder_when_whole(tmp_path / "a") as temporary:
        (temporary / "x").write_text("x")
    assert (tmp_path / "a").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_who_comes_second_waits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new" / "a"

    def second() -> bool:
        with one_at_a_time(path, "makes a"):
            return path.exists()

    monkeypatch.setattr(files, "QUIET_WAIT", 0.01)
    with caplog.at_level("INFO"), ThreadPoolExecutor(1) as pool:
        with one_at_a_time(path, "makes a"):
            waiting = pool.submit(second)
            while "another process makes a; waiting" not in caplog.text:
                time.sleep(0.01)
            path.write_text("whole")
        assert waiting.result(timeout=60)
    caplog.clear()
    assert second()
    assert caplog.text == ""


def test_leftovers_are_removed_when_nobody_writes_them(tmp_path: Path) -> None:
    for name in (".old.1.tmp", ".written.2.tmp", ".new.3.tmp", "whole"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(b"a")
    long_ago = time.time() - 7200
    for path in (".old.1.tmp/a.bin", ".old.1.tmp", ".written.2.tmp", "whole/a.bin", "whole"):
        os.utime(tmp_path / path, (long_ago, long_ago))
    remove_leftovers(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".new.3.tmp", ".written.2.tmp", "whole"]
    remove_leftovers(tmp_path / "none")


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "x/a.csv.gz", "a.CSV.XZ", "a.csv.zip"])
def test_a_table_is_known_by_its_suffixes(name: str) -> None:
    assert is_table(name)
    assert is_table(Path(name))


@pytest.mark.parametrize("name", ["a.ckpt", "a csv", "a.zip", "a.csv.ckpt"])
def test_other_names_are_no_tables(name: str) -> None:
    assert not is_table(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("reviwes.csv", "did you mean {}/reviews.csv?"),
        ("a", "did you mean '{}/a&b.csv'?"),
        ("*.csv", "pattern"),
        ("-", "standard input"),
    ],
)
def test_a_missing_file_is_answered_with_what_was_meant(
    tmp_path: Path, name: str, expected: str
) -> None:
    for each in ("reviews.csv", "a&b.csv", "abc.csv"):
        (tmp_path / each).touch()
    assert expected.format(tmp_path) in similar_file(tmp_path / name)
    assert similar_file(tmp_path / "quite" / "other") == ""
    assert similar_file(tmp_path / "bxy.csv") == ""
