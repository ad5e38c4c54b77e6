"""A small server that speaks the Hub's protocol: model info, redirected downloads, byte ranges; and its faults."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves folder as the repository `owner/model`.

    sent counts the bytes of file contents sent; seen lists (path, Range, Authorization) of each request for content;
    tokens are the Authorizations of all requests, redirected ones included.
    hostile, if set, sees each request and its path first; it answers in the server's place where it returns True.
    Faults: cut_after is how many bytes of an answer arrive before the connection is closed, `cuts` times; ranges says
    whether ranges are understood; wrong_range answers another range than asked for; status answers downloads so.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.sent = 0
        self.seen: list[tuple[str, str, str | None]] = []
        self.tokens: set[str | None] = set()
        self.ranges = True
        self.wrong_range = False
        self.status = 0
        self.cuts = 0
        self.cut_after = 1000
        self.gone = False
        self.hostile: Callable[[BaseHTTPRequestHandler, str], bool] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.hostile is not None and self.server.hostile(self, path):
            return
        if path == "/api/models":
            self._models()
        elif path.startswith("/api/models/owner/model"):
            self._info()
        elif hit := re.fullmatch(r"/owner/model/resolve/[^/]+/(.+)", path):
            # Large files lie elsewhere, as on the Hub.
            self._answer(302, b"", {"Location": f"http://localhost:{self.server.server_port}/cdn/{hit[1]}"})
        elif hit := re.fullmatch(r"/cdn/(.+)", path):
            self._content(hit[1])
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _models(self):
        """The owner's models, one an answer, each but the last with a link to the next."""
        page = int(self.path.rpartition("page=")[2]) if "page=" in self.path else 0
        models = [{"id": "owner/model", "sha": COMMIT}, {"id": "owner/model", "sha": COMMIT}, {"id": "other/model"}]
        link = f'<{self.server.endpoint}/api/models?author=owner&page={page + 1}>; rel="next"'
        self._answer(200, json.dumps(models[page : page + 1]).encode(), {"Link": link} if page < 2 else {})

    def _info(self):
        hub = self.server
        if hub.gone:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        siblings = []
        for file in sorted(hub.folder.rglob("*")):
            if file.is_file():
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                size = file.stat().st_size
                siblings.append(
                    {
                        "rfilename": str(file.relative_to(hub.folder)),
                        "size": size,
                        "blobId": digest[:40],
                        "lfs": {"size": size, "sha256": digest, "pointerSize": 130},
                    }
                )
        info = {"id": "owner/model", "modelId": "owner/model", "sha": COMMIT, "siblings": siblings, "tags": []}
        self._answer(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _content(self, name):
        hub = self.server
        asked = self.headers.get("Range", "")
        hub.seen.append((name, asked, self.headers.get("Authorization")))
        if hub.status:
            self._answer(hub.status, b"", {})
            return
        data = (hub.folder / name).read_bytes()
        hit = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        if not (hit and hub.ranges):
            self._answer(200, data, {})
            return
        begin, end = int(hit[1]) + hub.wrong_range, int(hit[2]) + 1
        self._answer(206, data[begin:end], {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"})

    def _answer(self, status, body, headers):
        hub = self.server
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status in (200, 206) and self.path.startswith("/cdn/"):
            if hub.cuts and len(body) > hub.cut_after:
                hub.cuts -= 1
                body = body[: hub.cut_after]
                self.close_connection = True
            hub.sent += len(body)
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # who asked has gone


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """The server, running until the block ends."""
    hub = Hub(folder)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
