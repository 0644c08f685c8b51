"""Find the compression, kind and encoding of a file from its first bytes.

Recognises the kinds of file that are often given in place of a CSV file.
"""

import codecs
import json
import re
import zipfile
from contextlib import suppress
from pathlib import Path

HEAD = 1 << 13  # how many bytes the functions below look at

# Compressions by their first bytes, with the command to unpack those that are not read here.
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip", ""),
    (b"BZh", "bz2", ""),
    (b"\xfd7zXZ\x00", "xz", ""),
    (b"PK\x03\x04", "zip", ""),
    (b"PK\x05\x06", "zip", ""),
    (b"\x28\xb5\x2f\xfd", "zstd", ""),
    (b"\x04\x22\x4d\x18", "LZ4", "lz4 -d"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x"),
    (b"Rar!\x1a\x07", "RAR", "unrar x"),
    (b"\x1f\x9d", "compress", "gzip -d"),
    (b"\x5d\x00\x00\x80\x00", "LZMA", "xz -d"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_SPREADSHEET = "save it from there as CSV UTF-8"
_PICKLE = "export it as CSV where it comes from (opening a pickle runs its code)"
_BINARY = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (or other Office file)", _SPREADSHEET),
    (b"PAR1", "a Parquet file", "give it the suffix .parquet"),
    (b"ARROW1", "an Arrow or Feather file", "read_feather"),
    (b"FEA1", "a Feather file", "read_feather"),
    (b"ORC", "an ORC file", "read_orc"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "read_hdf"),
    (b"<stata_dta>", "a Stata file", "read_stata"),
    (b"$FL2", "an SPSS file", "read_spss"),
    *(
        (mark, "a pickle", _PICKLE)
        for mark in (b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95")
    ),
    (b"Obj\x01", "an Avro file", "export it as CSV"),
    (b"SQLite format 3\0", "an SQLite database", "export the table: sqlite3 -csv -header"),
    (b"\x93NUMPY", "a NumPy array", "write its texts and labels as CSV"),
    (b"RDX", "an R workspace", "write.csv in R makes one"),
    *((mark, "an image", "give texts") for mark in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
)
_TEXTUAL = (
    (r"<(!doctype html|html|head|body)\b", "an HTML page", "download the CSV file itself"),
    (r"<\?xml\b", "an XML file", "export it as CSV"),
    (r"%PDF-", "a PDF", "copy its texts into a CSV"),
    (r"\{\\rtf", "an RTF document", "copy its texts into a CSV"),
    (r"version https://git-lfs", "a pointer of Git LFS", "git lfs pull fetches the file itself"),
    (r"sep=.\s*\n", "headed by Excel's line sep=", "remove that line and set the separator"),
)
_JSON = re.compile(r'(\[\s*)?\{\s*("[^"]*"\s*:|\})|\[\s*\[\s*["\d\[{-]')
# Members that show what a zip file really is.
_MEMBERS = (
    (r"xl/", "an Excel workbook", _SPREADSHEET),
    (r"word/|ppt/", "an Office document", "copy its texts into a CSV"),
    (r"content\.xml", "an OpenDocument file", _SPREADSHEET),
    (r"Index/.*\.iwa", "a Numbers document", _SPREADSHEET),
    (r"[^/]*/data\.pkl", "a checkpoint of PyTorch", "use it as a checkpoint, not as a CSV file"),
    (r"[^/]*\.npy", "NumPy arrays", "write their texts and labels as CSV"),
)
# Encodings, what texts in them consist of, and its fraction of the characters that are not ASCII.
_BY_CHARACTERS = (
    ("utf-8", ".+", 1),
    ("cp1251", "[\u0430-\u044f\u0451]{3,}", 0.6),  # Cyrillic
    ("euc_kr", "[\uac00-\ud7a3]{2,}", 0.8),  # Hangul
    ("cp932", "[\u3041-\u30ff]", 0.3),  # Kana
    ("gb18030", "[\u3000-\u303f\u4e00-\u9fff\uff00-\uff5e]{3,}", 0.8),  # Han
    ("cp1252", ".+", 1),
)
_BYTE_ORDER_MARKS = (  # the longer first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
# Which of each four or two bytes are often zero in texts with some ASCII.
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True): "utf-16-le",
    (True, False): "utf-16-be",
}


def compression_in(head: bytes) -> tuple[str, str] | None:
    """The compression of a file, if any, and how to unpack it if this package cannot read it.

    Args:
        head: the first ``HEAD`` bytes of the file.
    """
    return next(((name, how) for mark, name, how in _COMPRESSIONS if _begins(head, mark)), None)


def binary_kind(head: bytes, path: Path) -> tuple[str, str] | None:
    """The kind of a binary file and how to convert it to CSV; None if the file may be text.

    Args:
        head: the first ``HEAD`` bytes of the file, uncompressed.
        path: the file; the members of a zip file show its kind.
    """
    if head.startswith(b"PK\x03\x04"):
        return _kind_by_members(path)
    for mark, what, how in _BINARY:
        if _begins(head, mark):
            return what, _by_pandas(how, path) if how.startswith("read_") else how
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it and give the CSV in it"
    return None


def textual_kind(head: bytes, path: Path) -> tuple[str, str] | None:
    """The other format that a text file seems to have and how to convert it to CSV, or None.

    A CSV file without a header may begin like that, too, so this only explains why reading failed.

    Args:
        head: the first ``HEAD`` bytes of the file, uncompressed.
        path: the file.
    """
    text = head.decode(errors="ignore").lstrip("\ufeff \t\r\n")
    for pattern, what, how in _TEXTUAL:
        if re.match(pattern, text, re.IGNORECASE):
            return what, how
    if _JSON.match(text):
        lines = False
        with suppress(ValueError):
            lines = isinstance(json.loads(text.partition("\n")[0]), dict)
        what = "a JSON lines file" if lines else "a JSON file"
        return what, f"give it the suffix {'.jsonl' if lines else '.json'}"
    return None


def likely_encodings(head: bytes, encoding: str, zeros: float) -> tuple[tuple[str, ...], str]:
    """The encodings that a file's first bytes leave possible, or () for any, and what shows it.

    Args:
        head: the first bytes.
        encoding: the current setting, as Python names it.
        zeros: the fraction of zero bytes at every second or fourth position that shows an encoding
            with wide characters.

    Returns:
        The first of them is the one to set.
    """
    for mark, family in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            other = f"{family}-{'le' if mark[0] == 0xFF else 'be'}"
            other = "utf-8-sig" if family == "utf-8" else other
            return (family, other), f"it begins with the byte order mark of {family}"
    zeros = 0.05 if encoding in ("utf-16", "utf-32") else zeros
    for width in (4, 2):
        columns = [head[start:HEAD:width] for start in range(width)]
        often = tuple(column.count(0) > zeros * len(column) for column in columns)
        if wide := _ZEROS.get(often):
            return (wide,), f"its zero bytes look like {wide}, without a byte order mark"
    if encoding.startswith(("utf-16", "utf-32")) and b"\0" not in head:
        with suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return ("utf-8",), "it has no zero bytes and looks like utf-8"
    if encoding in ("utf-16", "utf-32"):
        why = f"it has no byte order mark, so it is {encoding}-le or {encoding}-be"
        return (f"{encoding}-le",), why
    return (), ""


def likely_encoding(line: bytes, encoding: str) -> tuple[str, str]:
    """The encoding that a line is likely in if it is not the expected one, and a part of its text.

    Args:
        line: the bytes of the line.
        encoding: the one in which it cannot be decoded.

    Returns:
        The encoding, and its first characters that are not ASCII with those around them.
    """
    for name, usual, least in _BY_CHARACTERS:
        with suppress(UnicodeDecodeError):
            text = line.decode(name)
            others = [at for at, character in enumerate(text) if not character.isascii()]
            fits = sum(map(len, re.findall(usual, text))) >= least * len(others) > 0
            if fits and codecs.lookup(name) != codecs.lookup(encoding):
                return name, text[max(0, others[0] - 10) : others[0] + 10].strip()
    return "utf-8" if line and line.isascii() else "latin-1", ""


def _begins(head: bytes, mark: bytes) -> bool:
    """Whether a file begins with a mark; if that is all letters, a text may begin with it, too."""
    letters = mark.isascii() and mark.decode().isprintable()
    return head.startswith(mark) and not (letters and not _CONTROL.search(head))


def _by_pandas(reader: str, path: Path, options: str = "") -> str:
    call = f"pandas.{reader}({path.name!r}{options}).to_csv('table.csv', index=False)"
    return f'python -c "import pandas; {call}" makes one'


def _kind_by_members(path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
    for pattern, what, how in _MEMBERS:
        if any(re.match(pattern, name) for name in names):
            return what, how
    return None
