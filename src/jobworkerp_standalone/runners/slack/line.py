"""The connection of one request: it can be closed from another thread, which ends the request at once."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ssl import SSLContext
from typing import Any, cast
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener


class Line:
    """Carries one request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._hung_up = False

    def open(self, request: Request, timeout_sec: float, proxy: str | None, tls: SSLContext) -> HTTPResponse:
        """Send a request and return the answer. Blocks.

        Raises:
            OSError: there is none, or ``hang_up`` was called.
        """
        proxies = ProxyHandler({"http": proxy, "https": proxy} if proxy else {})
        opener = build_opener(proxies, _Http(self), _Https(self, tls), _NoRedirects())
        return cast("HTTPResponse", opener.open(request, timeout=timeout_sec))

    def hang_up(self) -> None:
        """Close the connection, from any thread, now and for good."""
        with self._lock:
            self._hung_up = True
            if self._socket is not None:
                with suppress(OSError):  # it is not connected any more
                    self._socket.shutdown(socket.SHUT_RDWR)
                self._forget()

    def done(self) -> None:
        """Let go of the connection: the request is over."""
        with self._lock:
            self._forget()

    def dial(self, address: tuple[str, int], timeout: float, source_address: Any = None) -> socket.socket:
        """Connect; what ``socket.create_connection`` does."""
        del source_address  # nobody names one
        failure: OSError | None = None
        for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(timeout)
                self._hold(made)
                made.connect(place)
            except OSError as error:
                made.close()
                failure = error
            else:
                return made
        raise failure or OSError(f"{address[0]} has no address")

    def _hold(self, made: socket.socket) -> None:
        """Keep a second descriptor of the connection: TLS takes the first one for itself."""
        with self._lock:
            if self._hung_up:
                raise ConnectionAbortedError("the request was given up")
            self._forget()
            self._socket = made.dup()

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Http(HTTPHandler):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_connection, self._line, HTTPConnection), req)


class _Https(HTTPSHandler):
    def __init__(self, line: Line, tls: SSLContext) -> None:
        super().__init__()
        self._line = line
        self._tls = tls

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(_connection, self._line, partial(HTTPSConnection, context=self._tls)), req)


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would take the token along to wherever it leads."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        del req, fp, code, msg, headers, newurl  # whoever asked gets the answer as it is


def _connection(line: Line, make: Any, host: str, **options: Any) -> HTTPConnection:
    made = make(host, **options)
    made._create_connection = line.dial  # http.client has no other way to say how it connects
    return made
