"""A network of an ONNX file of ``sentiment.export``, computed by onnxruntime without torch.

Such a file ends with a metadata entry that holds the number of its format and a checksum.
"""

import ctypes
import json
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from sentiment.predict.logits import Floats
from sentiment.predict.occlusion import occlude
from sentiment.predict.saved import SavedData, saved_data
from sentiment.runtime.environment import program_command
from sentiment.runtime.errors import InputError, first_words, needing

# Counts up when older versions could misread what is written.
ONNX_FORMAT = 1
FACTS_KEY = "sentiment"  # of the metadata with the facts about the classifier, as JSON

_Ints = npt.NDArray[np.int64]

_SEAL_KEY = b"sentiment.format"
_SEAL = re.compile(rb"r.\n.%b\x12.(\d+), crc32 [0-9a-f]{8}" % re.escape(_SEAL_KEY), re.DOTALL)
_LONGEST_SEAL = 100


class OnnxNetwork:
    """A network that onnxruntime computes, on the CPU; attributes as in ``Network``.

    It can be pickled, and used after a fork.

    Args:
        content: the file.

    Attributes:
        facts: what the file's metadata says about the classifier.
    """

    padded: ClassVar[Literal[True]] = True
    device: ClassVar[str] = "cpu"
    positions: ClassVar[int] = 4_096  # the fastest

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.threads = _threads()
        self._start()
        self.facts = json.loads(self._session.get_modelmeta().custom_metadata_map[FACTS_KEY])
        self.temperature = float(self.facts["temperature"])
        self.num_parameters = int(self.facts["num_parameters"])
        self.unknown_index = int(self.facts["unknown_index"])

    def _start(self) -> None:
        # It would report its use to Microsoft, from a thread that a forked process waits for.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # only fatal errors; others are raised
        self._session = onnxruntime.InferenceSession(
            self._content, options, providers=["CPUExecutionProvider"]
        )
        self._process = os.getpid()

    def logits(self, batches: Iterable[tuple[_Ints, _Ints]]) -> list[Floats]:
        """The logits of padded batches, each (batch, classes)."""
        if self.threads > 1 and os.getpid() != self._process:
            # A forked process does not have the threads of its parent, for which the end of the old
            # session would wait: so that never ends.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            self._start()
        return [
            self._session.run(None, {"token_ids": ids, "lengths": lengths})[0]
            for ids, lengths in batches
        ]

    def attributions(self, token_ids: _Ints, label: int) -> Floats:
        """By how much the log odds fall without each token, (tokens,); see ``occlude``."""
        return occlude(self, token_ids, label)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()


def _threads() -> int:
    """One thread, which is best for sentences, unless ``OMP_NUM_THREADS`` is set."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(wanted)) if wanted.isdecimal() else 1


def load_onnx(
    path: Path, device: str = "cpu"
) -> tuple[OnnxNetwork, SavedData, dict[str, int | float | None]]:
    """Load the network of a file, the facts about its data, and the numbers of its training.

    Raises:
        InputError: the file is missing, damaged, of another program or of a later version; the
            device is not the CPU; or onnxruntime is not installed.
    """
    content = _read(path)
    if device != "cpu":
        raise InputError(
            f"{path}: an ONNX file is computed on the CPU, not on {device!r}; leave --device out,"
            " or give the checkpoint"
        )
    try:
        with needing("onnx", f"{path}: an ONNX file"):
            network = OnnxNetwork(content)
        return network, saved_data(network.facts["data"]), network.facts["run"]
    except InputError:
        raise
    except Exception as error:  # onnxruntime has exceptions of its own
        raise InputError(
            f"{path}: cannot be used ({first_words(error)}); {_export()} writes another"
        ) from error


def sealed(model: bytes, version: int = ONNX_FORMAT) -> bytes:
    """An ONNX file with its last metadata entry, which holds the format and a checksum.

    Args:
        model: the file without it. Serialised protocol buffers can be extended by further entries.
        version: the number of the format.
    """
    value = b"%d, crc32 %08x" % (version, zlib.crc32(model))
    entry = b"\n%c%b\x12%c%b" % (len(_SEAL_KEY), _SEAL_KEY, len(value), value)
    return model + b"r%c%b" % (len(entry), entry)  # a ``metadata_props`` of ModelProto


def _read(path: Path) -> bytes:
    """The content of a file, after checks of its format and its checksum."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; {_export()} writes it") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, not an ONNX file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    seal = _SEAL.search(content, max(0, len(content) - _LONGEST_SEAL))
    if seal is None or seal.end() != len(content):
        if b"sentiment" in content[:64]:
            raise InputError(f"{path}: truncated, or changed by another program; copy it again")
        raise InputError(f"{path}: not an ONNX file of {_export()}, the only ones that are read")
    if (version := int(seal[1])) > ONNX_FORMAT:
        raise InputError(
            f"{path}: written by a later version (format {version}; this version reads up to"
            f" {ONNX_FORMAT}); install a newer sentiment"
        )
    if sealed(content[: seal.start()], version) != content:
        raise InputError(f"{path}: damaged; copy it again, or export it again")
    return content


def _export() -> str:
    return program_command("sentiment.export")
