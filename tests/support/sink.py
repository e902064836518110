"""The far end of webhooks: an HTTP server that keeps what it is sent, and can be out of order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.station import eventually


class Sink:
    """As a context it listens on 127.0.0.1:`port`. `answer`: its status code; 0: it takes the request and never answers."""

    def __init__(self, port: int = 0) -> None:
        self.got: list[dict[str, Any]] = []  # path, document
        self.answer = 200
        self.let_go = threading.Event()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if sink.answer == 0:
                    sink.let_go.wait(90)
                    return
                if sink.answer < 300:
                    sink.got.append({"path": self.path, "headers": dict(self.headers), "document": json.loads(body) if body else None})
                self.send_response(sink.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def documents(self, path: str | None = None) -> list[dict[str, Any]]:
        return [one["document"] for one in list(self.got) if path is None or one["path"] == path]

    def wait_for(self, wanted: Callable[[dict[str, Any]], Any], seconds: float = 20) -> dict[str, Any]:
        """The first document for which `wanted` holds, as soon as it is there."""
        return eventually(lambda: next((one for one in self.documents() if one and wanted(one)), None), seconds)  # type: ignore[return-value]
