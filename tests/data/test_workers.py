import os
import signal
import subprocess
import sys

import pytest
from joblib import parallel_config

from sentiment.data.reviews import ReviewChunk
from sentiment.data.tokenizer import TokenizerSettings
from sentiment.data.workers import encode_chunks

CODE = """
import os
from sentiment.data.workers import available_cores
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
print(available_cores())
"""


def test_encoded_chunks_come_in_order() -> None:
    chunks = [ReviewChunk([f"w{n}"], [], [n], 0, 0.0) for n in range(9)]
    encoded = encode_chunks(chunks, TokenizerSettings(), 2)
    assert [(chunk.rows[0], words.words) for chunk, words in encoded] == [
        (n, [f"w{n}"]) for n in range(9)
    ]


def test_threads_in_place_of_processes_leave_ctrl_c_alone() -> None:
    """As in a process that is joblib's itself: one of a sweep whose runs go side by side."""
    chunks = [ReviewChunk([f"w{n}"], [], [n], 0, 0.0) for n in range(9)]
    before = signal.getsignal(signal.SIGINT)
    with parallel_config(backend="threading"):
        encoded = [words.words for _, words in encode_chunks(chunks, TokenizerSettings(), 2)]
    assert encoded == [[f"w{n}"] for n in range(9)]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_cores_that_this_process_may_not_use_are_not_counted() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_a_worker_process_needs_no_torch() -> None:
    code = (
        "import sys; from sentiment.data.workers import _encode;"
        "from sentiment.data.tokenizer import TokenizerSettings;"
        "assert sorted(_encode(['a b'], TokenizerSettings()).words) == ['a', 'b'];"
        "assert 'torch' not in sys.modules; import torch"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
