"""Serve one document to this machine alone."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from motegpt.errors import UsageError

HOST = "127.0.0.1"
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PageServer(ThreadingHTTPServer):
    """Answers GET / with the document.

    Only this machine can connect. A request must name the address in its Host header: otherwise a web site
    could read the page, and with it the user's list, through a name that it points at this machine (DNS
    rebinding).
    """

    daemon_threads = True

    def __init__(self, document: str, port: int = 0) -> None:
        """port: 0 for a free one. Raises UsageError for a port that cannot be used."""
        self.document = document.encode()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"port: {port} cannot be used ({why}); leave it out for a free one") from None

    @property
    def hosts(self) -> set[str]:
        """The Host headers that are answered."""
        return {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes a connection early is not an error."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "motegpt", ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            self.send_error(403, f"expected the address {self.server.url}")
            return
        if self.path.partition("?")[0] != "/":
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.document)))
        self.end_headers()
        if with_body:
            self.wfile.write(self.server.document)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
