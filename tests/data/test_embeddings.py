import bz2
import gzip
import hashlib
import lzma
import re
import ssl
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torchtext.vocab import Vocab

from sentiment.data import vector_file
from sentiment.data.embeddings import (
    FileEmbeddings,
    GloveEmbeddings,
    LearnedEmbeddings,
    coverage,
)
from sentiment.data.vector_file import WordVectors
from sentiment.runtime.errors import InputError

TEXT = b"the 0.5 -1 2\nfilm 1e-2 .25 3.\nwas -0 7 8\n"
VECTORS: dict[str, list[float]] = {"the": [0.5, -1, 2], "film": [0.01, 0.25, 3], "was": [0, 7, 8]}
WORDS = ["was", "film", "unseen", "the"]


def written(folder: Path, content: bytes, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def zipped(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "vectors.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def as_dict(vectors: WordVectors) -> dict[str, list[float]]:
    assert vectors.vectors.dtype == torch.float32
    assert vectors.vectors.shape == (len(vectors.itos), vectors.dim)
    assert vectors.stoi == {word: i for i, word in enumerate(vectors.itos)}
    return {word: vectors[word].tolist() for word in vectors.itos}


def assert_holds(vectors: WordVectors, expected: dict[str, list[float]]) -> None:
    assert as_dict(vectors) == {
        word: torch.tensor(row, dtype=torch.float32).tolist() for word, row in expected.items()
    }


def test_keeps_the_wanted_rows_in_the_order_of_the_file(tmp_path: Path) -> None:
    vectors = WordVectors(written(tmp_path, TEXT), WORDS)
    assert vectors.itos == ["the", "film", "was"]
    assert vectors.dim == 3
    assert_holds(vectors, VECTORS)
    assert list(tmp_path.iterdir()) == [tmp_path / "vectors.txt"]
    some = WordVectors(written(tmp_path, TEXT), iter(["film", "film"]))
    assert_holds(some, {"film": VECTORS["film"]})


def test_no_wanted_word_found_is_an_empty_table(tmp_path: Path) -> None:
    vectors = WordVectors(written(tmp_path, TEXT), ["unseen", "fil", "film ", ""])
    assert vectors.vectors.shape == (0, 3)


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        TEXT.rstrip(b"\n"),
        TEXT + b"\n",
        TEXT + b"\n\n\r\n",
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"\n", b" \n"),
        TEXT.replace(b"\n", b" \r\n"),
        b"3 3\n" + TEXT,
        b"3 3 \r\n" + TEXT,
        b"3 3\n" + TEXT.replace(b"\n", b" \n"),
        b"\xef\xbb\xbf" + TEXT,
        b"\xef\xbb\xbf3 3\n" + TEXT,
        TEXT + b"the 9 9 9\nthe 8 8 8\n",
        TEXT + b"at name@domain.com 1 2 3\n. . . 1 2 3\n",
    ],
)
@pytest.mark.parametrize("block", [5, 64, 1 << 22])
def test_takes_the_usual_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, block: int
) -> None:
    monkeypatch.setattr(vector_file, "BLOCK", block)
    vectors = WordVectors(written(tmp_path, content), WORDS)
    assert_holds(vectors, VECTORS)
    assert vectors.skipped == 0


def test_words_may_hold_spaces_and_any_character(tmp_path: Path) -> None:
    words = ["at name@domain.com", ". . .", "caf\u00e9", "1\u00a01/2", "\u2028", "3", '"', "#", " "]
    rows = "".join(f"{word} {i} 0.5\n" for i, word in enumerate(words))
    vectors = WordVectors(written(tmp_path, b"the 1 2\n" + rows.encode()), words)
    assert_holds(vectors, {word: [i, 0.5] for i, word in enumerate(words)})


def test_rows_whose_word_is_not_utf8_are_skipped_and_counted(tmp_path: Path) -> None:
    content = b"caf\xe9 1 2 3\n" + TEXT + b"\xff\xfe 1 2 3\n"
    vectors = WordVectors(written(tmp_path, content), [*WORDS, "caf", "caf\ufffd"])
    assert_holds(vectors, VECTORS)
    assert vectors.skipped == 2


@pytest.mark.parametrize(
    ("name", "compress"),
    [("a.txt.gz", gzip.compress), ("a.vec.xz", lzma.compress), ("a.bz2", bz2.compress)],
)
def test_reads_compressed_files(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    path = written(tmp_path, compress(TEXT), name)
    assert_holds(WordVectors(path, WORDS), VECTORS)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=f"cannot read the word vectors in .*{name}"):
        WordVectors(path, WORDS)
    path.write_bytes(TEXT)
    with pytest.raises(InputError, match=f"cannot read the word vectors in .*{name}"):
        WordVectors(path, WORDS)


def test_reads_a_member_of_a_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"a.txt": TEXT})
    assert_holds(WordVectors(path, WORDS), VECTORS)
    path = zipped(tmp_path, {"a.txt": b"the 1 2\n", "in/b.txt": TEXT, "empty/": b""})
    assert_holds(WordVectors(path / "in/b.txt", WORDS), VECTORS)
    assert_holds(WordVectors(path / "a.txt", WORDS), {"the": [1, 2]})
    for wrong in (path, path / "c.txt"):
        with pytest.raises(InputError, match=r"holds a\.txt, in/b\.txt: choose one, as in .*/NAME"):
            WordVectors(wrong, WORDS)
    with pytest.raises(InputError, match="holds no file"):
        WordVectors(zipped(tmp_path, {}), WORDS)
    path.write_bytes(TEXT)
    with pytest.raises(InputError, match="cannot read the word vectors"):
        WordVectors(path, WORDS)


@pytest.mark.parametrize("name", ["missing.txt", "missing.txt.gz", "missing.zip", "no.zip/a.txt"])
def test_says_that_the_file_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"no word vectors at .*{name}: there is no such file"):
        WordVectors(tmp_path / name, WORDS)
    with pytest.raises(InputError, match="there is no such file"):  # before any text is read
        FileEmbeddings(path=tmp_path / name)
    with pytest.raises(InputError, match=f"cannot read .*{tmp_path}"):  # a folder
        WordVectors(tmp_path, WORDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no word vectors"),
        (b"3 3\n", "holds no word vectors"),
        (b"word\n", "row 1: no word and numbers, separated by single spaces"),
        (b"the\t1\t2\n", "row 1: no word and numbers, separated by single spaces"),
        (b"3 0\nthe\n", "row 1: no word and numbers"),
        (TEXT + b"unwanted 1 2\n", "row 4: 2 numbers where 3 are expected"),
        (TEXT + b"unwanted\n", "row 4: 0 numbers where 3 are expected"),
        (TEXT + b"unwanted 1 2 3 4\n", "row 4: 4 numbers where 3 are expected"),
        (TEXT + b"two 1 2 3rows 4 5 6\n", "row 4: 6 numbers where 3 are expected"),
        (b"3 3\n" + TEXT + b"unwanted 1 2", "row 5: 2 numbers where 3 are expected"),
        (b"9 300\n" + TEXT, "row 2: 3 numbers where 300 are expected"),
        (TEXT + b"\r\n\nunwanted 1", "row 6: 1 numbers where 3 are expected"),
        (TEXT + b"unseen 1 2 x\n", "row 4: 'x' is not a number"),
        (TEXT + b"unseen 1 2 \n", "row 4: 2 numbers where 3 are expected"),
        (TEXT + b"unseen 1 2,5 3\n", "row 4: '2,5' is not a number"),
        (TEXT + b"unseen 1 nan 3\n", "row 4: 'nan' is not a number"),
        (TEXT + b"unseen 1 -inf 3\n", "row 4: '-inf' is not a number"),
        (TEXT + b"unseen 1e39 2 3\n", "row 4: '1e39' is not a number"),
        (TEXT + b"unseen 1 2 1e999\n", "row 4: '1e999' is not a number"),
        (TEXT + b"unseen 1  3\n", "row 4: '' is not a number"),
        (TEXT + b"unseen 1 1.2.3 3\n", r"row 4: '1\.2\.3' is not a number"),
        (TEXT + b"unseen 1 1_0 3\n", "row 4: '1_0' is not a number"),
        (TEXT + b"unseen 1 \xff 3\n", "row 4: '\ufffd' is not a number"),
        (b"unseen True 1 2\n", "row 1: 'True' is not a number"),
    ],
)
@pytest.mark.parametrize("block", [8, 1 << 22])
def test_says_which_row_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str, block: int
) -> None:
    monkeypatch.setattr(vector_file, "BLOCK", block)
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=re.escape(str(path)) + r",? .*" + message) as raised:
        WordVectors(path, WORDS)
    assert "\n" not in str(raised.value)


def test_says_that_a_file_without_rows_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_file, "BLOCK", 8)
    monkeypatch.setattr(vector_file, "LONGEST_ROW", 50)
    with pytest.raises(InputError, match=r"row 2 does not end; is this a text file"):
        WordVectors(written(tmp_path, b"3 300\n" + b"\x01" * 100), WORDS)


@pytest.mark.parametrize(
    ("header", "row"), [(b"", "row 1: 3 numbers where"), (b"3 3\n", "of size")]
)
def test_the_dimension_must_be_the_files(tmp_path: Path, header: bytes, row: str) -> None:
    path = written(tmp_path, header + TEXT)
    assert_holds(WordVectors(path, WORDS, dimension=3), VECTORS)
    for dimension in (2, 4):
        with pytest.raises(InputError, match=row):
            WordVectors(path, WORDS, dimension=dimension)


def test_the_dimension_shows_spaces_in_the_first_word(tmp_path: Path) -> None:
    vectors = WordVectors(written(tmp_path, b"of the 1 2\nthe 3 4\n"), ["of the"], dimension=2)
    assert_holds(vectors, {"of the": [1, 2]})


def test_is_what_a_reader_line_by_line_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    words = [f"{'w' * int(generator.integers(1, 9))} {i}x" for i in range(500)]
    rows = [" ".join(f"{x:.5g}" for x in generator.normal(size=7)) for _ in words]
    path = written(
        tmp_path, "".join(f"{w} {r}\n" for w, r in zip(words, rows, strict=True)).encode()
    )
    wanted = set(generator.choice(words, 200))
    expected = {
        word: np.array([float(x) for x in row.split()], np.float32).tolist()
        for word, row in zip(words, rows, strict=True)
        if word in wanted
    }
    for block in (10, 100, 1000, 1 << 22):
        monkeypatch.setattr(vector_file, "BLOCK", block)
        assert as_dict(WordVectors(path, wanted, dimension=7)) == expected


def test_works_with_the_vocabulary_of_torchtext(tmp_path: Path) -> None:
    vocab = Vocab(Counter({"film": 2, "unseen": 1}), specials=["<pad>", "<unk>"])
    vectors = WordVectors(written(tmp_path, TEXT), vocab.itos)
    expected = [[0, 0, 0], [0, 0, 0], VECTORS["film"], [0, 0, 0]]
    vocab.load_vectors(vectors)
    assert torch.equal(vocab.vectors, torch.tensor(expected))
    vocab.vectors = None
    vocab.set_vectors(vectors.stoi, vectors.vectors, vectors.dim)
    assert torch.equal(vocab.vectors, torch.tensor(expected))


def test_leaves_tls_verification_on(tmp_path: Path) -> None:
    context = ssl._create_default_https_context
    WordVectors(written(tmp_path, TEXT), WORDS)
    assert ssl._create_default_https_context is context
    assert context().verify_mode == ssl.CERT_REQUIRED


VOCABULARY = ["<pad>", "<unk>", *WORDS]


def test_learned_embeddings_are_drawn_with_rows_of_length_one() -> None:
    source = LearnedEmbeddings(size=64)
    table = source.table(["w"] * 2000, seed=1)
    assert table.weights.shape == (2000, 64)
    assert table.weights.dtype == torch.float32
    assert not table.weights[0].any()
    assert not table.found.any()
    assert table.found.shape == (2000,)
    assert table.weights[1:].norm(dim=1).mean().item() == pytest.approx(1, rel=0.02)
    assert torch.equal(table.weights, source.table(["w"] * 2000, seed=1).weights)
    assert not torch.equal(table.weights, source.table(["w"] * 2000, seed=2).weights)


def test_file_embeddings_hold_the_vectors_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT + b"<unk> 9 9 9\n<pad> 9 9 9\n")
    table = FileEmbeddings(path=str(path), size=3).table(VOCABULARY, seed=0)
    assert table.found.tolist() == [False, False, True, True, False, True]
    assert table.found.dtype == np.bool_
    for i, word in enumerate(VOCABULARY):
        if table.found[i]:
            assert torch.equal(table.weights[i], torch.tensor(VECTORS[word]))
    assert not table.weights[0].any()
    mean = torch.tensor(list(VECTORS.values())).mean(dim=0)
    torch.testing.assert_close(table.weights[1], mean)


def test_the_same_rows_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = Mock(wraps=vector_file.WordVectors)
    monkeypatch.setattr(vector_file, "WordVectors", reads)
    path = written(tmp_path, TEXT)
    words = ["<pad>", "<unk>", *WORDS]
    source = FileEmbeddings(path=path)
    first = source.table(words, seed=1)
    expected = first.weights.clone()
    first.weights.zero_()  # as a training changes them
    first.found[:] = False
    again = FileEmbeddings(path=path, frozen=True).table(list(words), seed=1)
    assert reads.call_count == 1
    assert torch.equal(again.weights, expected)
    assert again.found.any()
    source.table(words[:-1], seed=1)
    assert reads.call_count == 2
    written(tmp_path, TEXT.replace(b"0.5", b"0.7"))  # of the same size
    assert source.table(words[:-1], seed=1).weights.max() == 8
    assert reads.call_count == 3
    assert source.table(words, seed=1).weights[5, 0] == pytest.approx(0.7)


def test_words_without_a_vector_are_drawn_like_the_others(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(500, 3)) * [0.1, 1, 5] + [3, 0, -1]
    text = "".join(f"w{i} {a:.5f} {b:.5f} {c:.5f}\n" for i, (a, b, c) in enumerate(rows))
    words = ["<pad>", "<unk>", *(f"w{i}" for i in range(4000))]
    source = FileEmbeddings(path=written(tmp_path, text.encode()))
    table = source.table(words, seed=3)
    assert table.found.sum() == 500
    drawn = table.weights[502:]
    np.testing.assert_allclose(drawn.std(dim=0), rows.std(axis=0), rtol=0.05)
    np.testing.assert_allclose(drawn.mean(dim=0), rows.mean(axis=0), atol=0.3)
    assert torch.equal(table.weights, source.table(words, seed=3).weights)
    assert not torch.equal(table.weights, source.table(words, seed=4).weights)


def test_one_word_found_is_enough(tmp_path: Path) -> None:
    table = FileEmbeddings(path=written(tmp_path, TEXT)).table(
        ["<pad>", "<unk>", "a", "was"], seed=0
    )
    assert torch.equal(table.weights[1:], torch.tensor([VECTORS["was"]]).repeat(3, 1))


def test_says_that_no_word_was_found(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT + b"<unk> 9 9 9\n")
    with pytest.raises(InputError, match=re.escape(f"{path} has none of the 2 words")):
        FileEmbeddings(path=path).table(["<pad>", "<unk>", "The", "FILM"], seed=0)


def test_says_that_the_numbers_are_too_large_to_add_up(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("the 3e38 1\nfilm 3e38 1\n")
    with pytest.raises(InputError, match=r"v\.txt: .*3e\+38, are too large"):
        FileEmbeddings(path=path).table(["<pad>", "<unk>", "the", "film", "seen"], seed=1)


def test_glove_embeddings_come_from_the_cache(tmp_path: Path) -> None:
    row = " ".join(["0.5"] * 50)
    archive = zipped(tmp_path, {"glove.6B.50d.txt": f"the {row}\n".encode()})
    archive = archive.rename(tmp_path / "glove.6B.zip")
    source = GloveEmbeddings(
        size=50, cache_dir=tmp_path, sha256=hashlib.sha256(archive.read_bytes()).hexdigest()
    )
    table = source.table(VOCABULARY, seed=0)
    assert table.found.tolist() == [False] * 5 + [True]
    assert torch.equal(table.weights[5], torch.full((50,), 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen_epochs": -1}, "frozen_epochs .*-1"),
        ({"lr_scale": 0.0}, r"lr_scale .*0\.0"),
        ({"lr_scale": float("nan")}, "lr_scale .*nan"),
        ({"size": 0}, "size .*0"),
    ],
)
def test_sources_check_their_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FileEmbeddings(path=__file__, **options)
    with pytest.raises(InputError, match=message):
        GloveEmbeddings(**options)
    if "frozen_epochs" not in options:
        with pytest.raises(InputError, match=message):
            LearnedEmbeddings(**options)
    with pytest.raises(InputError, match=r"size 100.* 300"):
        GloveEmbeddings(archive="840B")


def test_coverage_counts_words_and_tokens() -> None:
    found = np.array([True, False, True, False])
    assert coverage(found, np.array([6, 1, 2, 1])) == (0.5, 0.8)
    assert coverage(found, np.zeros(4, np.int64)) == (0.5, 0.0)
