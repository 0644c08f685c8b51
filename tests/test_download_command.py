import functools
import gzip
import hashlib
import io
import random
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest

from sentiment.download import main

REVIEWS = {
    "aclImdb/train/pos/0_9.txt": "A \u201cfilm\u201d, with commas,\nand a line break.",
    "aclImdb/train/pos/10_7.txt": "Good.",
    "aclImdb/train/pos/2_10.txt": "Great.",
    "aclImdb/train/neg/0_1.txt": 'Bad <br /><br />"quoted"',
    "aclImdb/train/neg/1_4.txt": "Dull.",
    "aclImdb/test/pos/0_8.txt": "Fine.",
    "aclImdb/test/neg/0_3.txt": "Poor.",
    "aclImdb/train/unsup/0_0.txt": "Who knows?",
    "aclImdb/train/unsup/1_0.txt": "Not I.",
}
LONG = random.Random(0).randbytes(50_000).hex()
OTHERS = {
    "aclImdb/README": "a readme",
    "aclImdb/train/labeledBow.feat": "9 0:9",
    "aclImdb/train/pos/notes.txt": "no review",
    "../aclImdb/train/pos/3_9.txt": "out of the folder",
    "/aclImdb/train/pos/4_9.txt": "out of the folder",
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL under which it is served; the cache is a folder of its own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def pack(members: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("aclImdb/train/pos/"))
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("aclImdb/train/pos/5_9.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hosts"
        archive.addfile(link)
    return content.getvalue()


def serve(web: tuple[Path, str], name: str, content: bytes) -> list[str]:
    """Put the content on the web; return the options with which the command finds it."""
    folder, url = web
    (folder / name).write_bytes(content)
    return ["--url", f"{url}/{name}", "--sha256", hashlib.sha256(content).hexdigest()]


def test_imdb_writes_the_three_files(
    web: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = serve(web, "imdb.tar.gz", pack(OTHERS | REVIEWS))
    out = tmp_path / "out"
    main(["imdb", *options, "--out-dir", str(out)])
    names = {"imdb_train.csv", "imdb_test.csv", "imdb_unlabeled.csv"}
    assert {path.name for path in out.iterdir()} == names
    train = pd.read_csv(out / "imdb_train.csv")
    assert list(train.columns) == ["review", "sentiment", "rating"]
    assert set(train.itertuples(index=False, name=None)) == {
        (REVIEWS["aclImdb/train/pos/0_9.txt"], "positive", 9),
        ("Good.", "positive", 7),
        ("Great.", "positive", 10),
        (REVIEWS["aclImdb/train/neg/0_1.txt"], "negative", 1),
        ("Dull.", "negative", 4),
    }
    assert len(train) == 5
    test = pd.read_csv(out / "imdb_test.csv")
    assert sorted(test.sentiment) == ["negative", "positive"]
    unlabeled = pd.read_csv(out / "imdb_unlabeled.csv")
    assert list(unlabeled.columns) == ["review"]
    assert sorted(unlabeled.review) == ["Not I.", "Who knows?"]
    assert f"{out / 'imdb_train.csv'}: 5 reviews" in capsys.readouterr().out


def test_imdb_order_depends_on_the_seed_alone(web: tuple[Path, str], tmp_path: Path) -> None:
    reviews = {f"aclImdb/train/neg/{i}_1.txt": f"review {i}" for i in range(50)} | REVIEWS
    orders = []
    for members in (reviews, dict(reversed(reviews.items()))):
        options = serve(web, "imdb.tar.gz", pack(members))
        main(["imdb", *options, "--out-dir", str(tmp_path)])
        orders.append(list(pd.read_csv(tmp_path / "imdb_train.csv").review))
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0], key=list(reviews.values()).index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pack(OTHERS), "has no train and no test and no unlabeled reviews"),
        (pack({k: v for k, v in REVIEWS.items() if "/test/" not in k}), "has no test reviews"),
        (
            pack({"aclImdb/train/pos/7_7.txt": LONG} | REVIEWS)[:20_000],
            "cannot read the reviews in",
        ),
        (gzip.compress(b"no tar at all" * 100), "cannot read the reviews in"),
        (b"no archive", "cannot read the reviews in"),
    ],
    ids=["no reviews", "no test reviews", "cut short", "no tar", "no gzip"],
)
def test_imdb_refuses_another_archive(
    web: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    message: str,
) -> None:
    options = serve(web, "imdb.tar.gz", content)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["imdb", *options, "--out-dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_imdb_refuses_a_wrong_checksum(
    web: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = serve(web, "imdb.tar.gz", pack(REVIEWS))[:2]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["imdb", *options, "--out-dir", str(tmp_path / "out")])
    assert "wrong SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "cache" / "aclImdb_v1.tar.gz").exists()


def test_imdb_says_where_it_cannot_write(
    web: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = serve(web, "imdb.tar.gz", pack(REVIEWS))
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["imdb", *options, "--out-dir", str(tmp_path / "taken")])
    assert f"error: cannot write {tmp_path / 'taken'}" in capsys.readouterr().err


def test_glove_is_put_into_the_cache(
    web: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, url = web
    with zipfile.ZipFile(folder / "glove.6B.zip", "w") as archive:
        archive.writestr("glove.6B.50d.txt", "the 1 2\n")
    sha256 = hashlib.sha256((folder / "glove.6B.zip").read_bytes()).hexdigest()
    cache = tmp_path / "mine"
    options = ["--archive", "6B", "--size", "50", "--cache-dir", str(cache)]
    main(["glove", *options, "--mirror", url, "--sha256", sha256])
    path = cache / "glove.6B.50d.txt"
    assert path.read_text() == "the 1 2\n"
    assert capsys.readouterr().out == f"{path}\n"
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["glove", "--size", "60"])
    assert "error: GloVe 6B has no vectors of size 60" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["imdb", "glove"])
def test_the_command_line(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([source, "--help"])
    assert "--sha256" in capsys.readouterr().out
    for options in (["--sha256", "abc"], ["--nonsense"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            main([source, *options])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
