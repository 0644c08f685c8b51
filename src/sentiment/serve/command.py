"""Serve a trained checkpoint over HTTP.

Loads FastAPI, torch and spaCy once the arguments are checked, and neither Hydra nor Lightning.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment.predict.hub import is_on_hub
from sentiment.predict.options import add_prediction_options
from sentiment.runtime.arguments import OneLineParser, count
from sentiment.runtime.environment import limit_threads
from sentiment.runtime.errors import InputError, needing
from sentiment.runtime.files import is_onnx
from sentiment.runtime.program import ending_at_once, exit_on_input_error
from sentiment.runtime.progress_bar import write_note
from sentiment.runtime.run_folder import NO_CHECKPOINT, best_checkpoint

if TYPE_CHECKING:
    import socket

_KEY_VARIABLE = "SENTIMENT_API_KEY"
# oneDNN keeps its code for each shape of a batch, by default for 1,024 of them: about 135 MB.
_FEW_PRIMITIVES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
_FIRST = "What is loaded at the first text is loaded now."
_LOOPBACK = ("127.", "::1", "localhost")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(
        "sentiment.serve",
        description="Serve a trained checkpoint over HTTP: POST /predict, and a page at /.",
        epilog="Examples:\n"
        "  %(prog)s runs/mine\n"
        "  %(prog)s best.ckpt --port 9000 --threads 2\n"
        "  %(prog)s best.ckpt --host 0.0.0.0 --api-key-file key.txt\n"
        '  curl --json \'{"text": "What a film!"}\' http://127.0.0.1:8000/predict',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="checkpoints/best.ckpt of a run folder, or the folder; an ONNX file; or hf:USER/NAME",
    )
    add_prediction_options(parser)
    parser.add_argument(
        "--threads", type=count, metavar="N", help="of the CPU; default: as many as cores"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at; default: 127.0.0.1, which only this machine reaches",
    )
    parser.add_argument(
        "--port", type=_port, default=8000, help="default: 8000; 0 is any that is free"
    )
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="a file with the key that each request must carry; default: the environment variable"
        f" {_KEY_VARIABLE}, else none is needed",
    )
    parser.add_argument(
        "--max-queue",
        type=count,
        default=2048,
        metavar="N",
        help="how many texts may wait; further ones get 503; default: 2048",
    )
    parser.add_argument(
        "--max-text",
        type=count,
        default=100_000,
        metavar="N",
        help="how many characters a text may have; longer ones get 413; default: 100000",
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not (text.isdecimal() and text.isascii()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no port, a number from 0 to 65535")
    return int(text)


def _api_key(path: Path | None) -> str | None:
    """The key in a file, else in the environment, else None.

    Raises:
        InputError: there is no such file, or it holds no key.
    """
    if path is None:
        source, key = _KEY_VARIABLE, os.environ.get(_KEY_VARIABLE)
        if key is None:
            return None
    else:
        source = f"--api-key-file {path}"
        try:
            key = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text"
            raise InputError(f"{source}: {reason.lower()}; give a file with the key") from error
    key = key.strip()
    if not key or not all("!" <= character <= "~" for character in key):
        raise InputError(f"{source}: must hold a key of ASCII letters, digits and signs, no spaces")
    return key


def _check_extra() -> None:
    with needing("serve", "serving"):
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401


def _serve(parsed: argparse.Namespace, checkpoint: Path, key: str | None) -> None:
    from sentiment.predict.predictor import Predictor
    from sentiment.serve.app import build_app
    from sentiment.serve.batcher import Batcher
    from sentiment.serve.request import Limits
    from sentiment.serve.server import bind, run

    with bind(parsed.host, parsed.port) as bound:
        predictor = Predictor.load(checkpoint, device=parsed.device, threshold=parsed.threshold)
        predictor(_FIRST)
        predictor.explain(_FIRST)
        batcher = Batcher(predictor, max_queue=parsed.max_queue)
        limits = Limits(
            text=parsed.max_text,
            texts=min(Limits.texts, parsed.max_queue),
            explained=min(Limits.explained, parsed.max_text),
        )

        def explain(text: str, label: str | None) -> dict[str, Any]:
            return predictor.explain(text, label).as_dict()

        app = build_app(batcher, explain, predictor.labels, limits=limits, api_key=key)
        if key is None and not parsed.host.startswith(_LOOPBACK):
            write_note(
                f"whoever reaches {parsed.host} can send texts; --api-key-file FILE asks for a key"
            )

        def announce() -> None:
            sys.stdout.write(f"serving {checkpoint} at {_address(bound)} (Ctrl-C stops)\n")
            sys.stdout.flush()

        # uvicorn repeats the signal once all is answered.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        run(app, bound, announce)


def _address(bound: "socket.socket") -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: an error in one line."""
    parsed = parse_arguments(arguments)
    with exit_on_input_error():
        checkpoint = best_checkpoint(parsed.checkpoint)
        if not (checkpoint.exists() or is_on_hub(checkpoint)):
            raise InputError(f"{checkpoint}: {NO_CHECKPOINT}")
        key = _api_key(parsed.api_key_file)
        if parsed.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(parsed.threads)  # before torch is imported
        os.environ.setdefault(*_FEW_PRIMITIVES)
        with ending_at_once():
            _check_extra()
            import sentiment.predict.predictor
        if not is_onnx(checkpoint):
            with ending_at_once():
                import sentiment.predict.torch_network  # noqa: F401 (slow)
            limit_threads()
        _serve(parsed, checkpoint, key)
