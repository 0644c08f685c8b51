"""Run the application: a socket, uvicorn's settings, and a time limit for slow clients."""

import errno
import os
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from sentiment.runtime.errors import InputError

HEAD_SECONDS = 10
RECEIVE_SECONDS = 30  # in which a client receives its answer
_IDLE_SECONDS = 5  # between two requests of a connection
STOP_SECONDS = 30  # to answer what was accepted
_MAX_CONNECTIONS = 512


class _Protocol(H11Protocol):
    """Closes a connection whose client is slow to send its headers or to receive its answer.

    uvicorn itself would wait forever.
    """

    _timer: TimerHandle | None = None
    _receiving: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        if self._receiving is not None:
            self._receiving.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._receiving is not None:
            self._receiving.cancel()
        self._receiving = self.loop.call_later(RECEIVE_SECONDS, self._abort_if_not_received)

    def _abort_if_not_received(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        InputError: it is in use, not of this machine, or may not be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host}: no address of this machine; 127.0.0.1 is") from error
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        reasons = {
            errno.EADDRINUSE: f"--port {port}: is in use on {host}; give another one, or 0 for any"
            " that is free",
            errno.EACCES: f"--port {port}: permission denied; give one from 1024 on",
        }
        other = f"--host {host}: no address of this machine; 127.0.0.1 is"
        raise InputError(reasons.get(error.errno or 0, other)) from error
    return bound


class _Server(uvicorn.Server):
    """Says once it serves: from then on a signal ends it without a traceback of its tasks."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def run(app: FastAPI, bound: socket.socket, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, and answer the requests that were accepted.

    Args:
        app: what answers.
        bound: the socket it listens at.
        announce: called once requests are answered.
    """
    settings: dict[str, Any] = {
        "http": _Protocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "log_level": "error",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": _MAX_CONNECTIONS,
        "timeout_keep_alive": _IDLE_SECONDS,
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    _Server(uvicorn.Config(app, **settings), announce).run(sockets=[bound])
