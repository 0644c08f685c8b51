"""What a file is by its first bytes, where it is given as a CSV file but is none."""

import json
import re
import zipfile
from pathlib import Path

HEAD = 1 << 13  # bytes that tell

# Compressions by the bytes they begin with; those that are not read here have the way to unpack.
_PACKED = (
    (b"\x1f\x8b", "gzip", ""),
    (b"BZh", "bz2", ""),
    (b"\xfd7zXZ\x00", "xz", ""),
    (b"PK\x03\x04", "zip", ""),
    (b"PK\x05\x06", "zip", ""),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "zstd -d"),
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
    (b"PAR1", "a Parquet file", "read_parquet"),
    (b"ARROW1", "an Arrow or Feather file", "read_feather"),
    (b"FEA1", "a Feather file", "read_feather"),
    (b"ORC", "an ORC file", "read_orc"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "read_hdf"),
    (b"<stata_dta>", "a Stata file", "read_stata"),
    (b"$FL2", "an SPSS file", "read_spss"),
    (b"\x80\x02", "a pickle", _PICKLE),
    (b"\x80\x03", "a pickle", _PICKLE),
    (b"\x80\x04\x95", "a pickle", _PICKLE),
    (b"\x80\x05\x95", "a pickle", _PICKLE),
    (b"Obj\x01", "an Avro file", "export it as CSV"),
    (b"SQLite format 3\0", "an SQLite database", "export the table: sqlite3 -csv -header"),
    (b"\x93NUMPY", "a NumPy array", "write its texts and labels as CSV"),
    (b"RDX", "an R workspace", "write.csv in R makes one"),
    (b"\x89PNG", "an image", "give texts"),
    (b"\xff\xd8\xff", "an image", "give texts"),
    (b"GIF8", "an image", "give texts"),
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
# Members that tell what a zip file really is.
_MEMBERS = (
    (r"xl/", "an Excel workbook", _SPREADSHEET),
    (r"word/|ppt/", "an Office document", "copy its texts into a CSV"),
    (r"content\.xml", "an OpenDocument file", _SPREADSHEET),
    (r"Index/.*\.iwa", "a Numbers document", _SPREADSHEET),
    (r"[^/]*/data\.pkl", "a checkpoint of PyTorch", "checkpoints and CSV files go in other places"),
    (r"[^/]*\.npy", "NumPy arrays", "write their texts and labels as CSV"),
)


def packing(head: bytes) -> tuple[str, str] | None:
    """How a file is compressed, and the command that unpacks it where this package does not.

    Args:
        head: its first ``HEAD`` bytes.
    """
    return next(((name, way) for mark, name, way in _PACKED if _begins(head, mark)), None)


def binary_kind(head: bytes, path: Path) -> tuple[str, str] | None:
    """What a file is and how it becomes a CSV file, if its bytes show that it is no text.

    Args:
        head: its first ``HEAD`` bytes, uncompressed.
        path: where it is; the members of a zip file tell.
    """
    if head.startswith(b"PK\x03\x04"):
        return _by_members(path)
    for mark, what, way in _BINARY:
        if _begins(head, mark):
            return what, _by_pandas(way, path) if way.startswith("read_") else way
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it and give the CSV in it"
    return None


def textual_kind(head: bytes, path: Path) -> tuple[str, str] | None:
    """What a text likely is and how it becomes a CSV file, if it begins as something else does.

    A CSV file without a header may begin so, too; this explains why one could not be read.

    Args:
        head: its first ``HEAD`` bytes, uncompressed.
        path: where it is.
    """
    text = head.decode(errors="ignore").lstrip("\ufeff \t\r\n")
    for pattern, what, way in _TEXTUAL:
        if re.match(pattern, text, re.IGNORECASE):
            return what, way
    if _JSON.match(text):
        lines = _is_object(text.partition("\n")[0])
        what = "a JSON lines file" if lines else "a JSON file"
        return what, _by_pandas("read_json", path, ", lines=True" * lines)
    return None


def _begins(head: bytes, mark: bytes) -> bool:
    """Whether a file begins with a mark; one of letters alone may begin a text, too."""
    letters = mark.isascii() and mark.decode().isprintable()
    return head.startswith(mark) and not (letters and not _CONTROL.search(head))


def _by_pandas(reader: str, path: Path, options: str = "") -> str:
    call = f"pandas.{reader}({path.name!r}{options}).to_csv('table.csv', index=False)"
    return f'python -c "import pandas; {call}" makes one'


def _is_object(line: str) -> bool:
    """Whether a line is a JSON object by itself, as each line of a JSON lines file is."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _by_members(path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
    for pattern, what, way in _MEMBERS:
        if any(re.match(pattern, name) for name in names):
            return what, way
    return None
