import signal
import subprocess
import sys

import pytest
from joblib import parallel_config

from sentiment.data.reviews import ReviewChunk
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.data.workers import encode_chunks


def test_encoded_chunks_come_in_order() -> None:
    chunks = [ReviewChunk([f"w{n}"], [], [n], 0, 0.0) for n in range(9)]
    encoded = encode_chunks(chunks, TokenizerSettings(), 2)
    assert [(chunk.rows[0], words.words) for chunk, words in encoded] == [
        (n, [f"w{n}"]) for n in range(9)
    ]


def test_threads_in_place_of_processes_leave_ctrl_c_alone() -> None:
    """As in a process of joblib, when the runs of a sweep are trained side by side."""
    chunks = [ReviewChunk([f"w{n}"], [], [n], 0, 0.0) for n in range(9)]
    before = signal.getsignal(signal.SIGINT)
    with parallel_config(backend="threading"):
        encoded = [words.words for _, words in encode_chunks(chunks, TokenizerSettings(), 2)]
    assert encoded == [[f"w{n}"] for n in range(9)]
    assert signal.getsignal(signal.SIGINT) is before


def test_stopping_early_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    chunks = [ReviewChunk([f"w{n} " * 50_000], [], [n], 0, 0.0) for n in range(20)]
    encoded = encode_chunks(chunks, TokenizerSettings(), 2)
    next(encoded)
    encoded.close()
    assert not recwarn.list


def test_a_worker_process_needs_no_torch() -> None:
    code = (
        "import sys; from sentiment.data.workers import encode_in_worker;"
        "from sentiment.data.tokenizer import TokenizerSettings;"
        "assert sorted(encode_in_worker(['a b'], TokenizerSettings()).words) == ['a', 'b'];"
        "assert 'torch' not in sys.modules; import torch"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
