import signal
from pathlib import Path
from typing import Any

import pytest

from sentiment.train.stopping import StopOnSignal


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_ignored(ignored: signal.Signals) -> None:
    both = (signal.SIGINT, signal.SIGTERM)
    stop, nothing = StopOnSignal(Path("last.ckpt")), None
    before = {number: signal.getsignal(number) for number in both}
    expected: list[Any] = [signal.SIG_IGN if number == ignored else stop._ask for number in both]
    try:
        signal.signal(ignored, signal.SIG_IGN)
        with stop.listening():
            assert list(map(signal.getsignal, both)) == expected
            for number in both:  # as Lightning does
                signal.signal(number, signal.default_int_handler)
            stop.on_sanity_check_start(nothing, nothing)  # type: ignore[arg-type]
            assert list(map(signal.getsignal, both)) == expected
        assert signal.getsignal(ignored) == signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
