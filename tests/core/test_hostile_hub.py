"""A Hub that means harm: endless answers, loops, lies about sizes and ranges. Each ends in one sentence, soon."""

import gzip
import json
import time

import pytest

from projlens_core.cli import main
from projlens_core.weights import hub as module
from tests import pico
from tests.hub import COMMIT, serving

MODEL = "hub:owner/model"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return pico.checkpoint(tmp_path_factory.mktemp("hostile") / "base")


@pytest.fixture
def hub(base, monkeypatch):
    monkeypatch.setattr(module, "_INFO_SECONDS", 1.0)
    monkeypatch.setattr(module, "_MAX_INFO", 200_000)
    monkeypatch.setattr(module, "_seconds", lambda length: 1.0)
    monkeypatch.setattr(module, "_TIMEOUT", 2.0)
    with serving(base) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def headers(handler, status=200, **more):
    handler.close_connection = True
    handler.send_response(status)
    for name, value in more.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Connection", "close")
    handler.end_headers()


def write(handler, data) -> bool:
    try:
        handler.wfile.write(data)
        handler.wfile.flush()
    except OSError:
        return False
    return True


def endless(handler):
    headers(handler)
    while write(handler, b" " * 10_000):
        pass


def dripping(handler):
    headers(handler)
    for _ in range(100):
        if not write(handler, b" "):
            break
        time.sleep(0.05)


def looping(handler):
    headers(handler, 302, Location=handler.path, Content_Length="0")


def wandering(handler):
    step = len(handler.path)
    headers(handler, 302, Location=f"{handler.path}x" if step < 4000 else "/", Content_Length="0")


def elsewhere(handler):
    headers(handler, 302, Location="file:///etc/passwd", Content_Length="0")


def bomb(handler):
    data = gzip.compress(b" " * 50_000_000)
    headers(handler, Content_Encoding="gzip", Content_Length=str(len(data)))
    write(handler, data)


def document(value):
    def answer(handler):
        data = json.dumps(value).encode() if not isinstance(value, bytes) else value
        headers(handler, Content_Length=str(len(data)))
        write(handler, data)

    return answer


def sibling(**more):
    return {"id": "o/m", "sha": COMMIT, "siblings": [{"rfilename": "config.json", "size": 2} | more]}


INFO = {
    "an endless list": endless,
    "a list that drips": dripping,
    "a loop of redirects": looping,
    "redirects without end": wandering,
    "a redirect to a file": elsewhere,
    "a compressed bomb": bomb,
    "no JSON": document(b"<html>"),
    "no object": document([1, 2]),
    "an object of other types": document({"siblings": 3}),
    "a file without a name": document({"sha": COMMIT, "siblings": [{}]}),
    "a name that is a number": document(sibling(rfilename=7)),
    "a size that is a text": document(sibling(size="2")),
    "a size below zero": document(sibling(size=-1)),
    "a size of a petabyte": document(sibling(size=2**50)),
    "nested without end": document(b"[" * 100_000),
    "no files": document({"sha": COMMIT, "siblings": []}),
}


@pytest.mark.parametrize("answer", INFO.values(), ids=INFO)
def test_a_hostile_list_of_files_is_one_sentence(answer, hub, capsys):
    hub.hostile = lambda handler, path: path.startswith("/api/") and not answer(handler)
    assert main(["weights", "--base", MODEL, "--suspect", MODEL]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert error.endswith((".\n", ").\n"))


def part(handler, begin, end, size, body):
    headers(handler, 206, Content_Range=f"bytes {begin}-{end}/{size}")
    write(handler, body)


def _range(handler):
    begin, end = handler.headers["Range"].removeprefix("bytes=").split("-")
    return int(begin), int(end)


CONTENT = {
    "an endless body": endless,
    "a body that drips": dripping,
    "a loop of redirects": looping,
    "a redirect to a file": elsewhere,
    "another range": lambda h: part(h, _range(h)[0] + 1, _range(h)[1] + 1, 100, b"x" * 10),
    "another size": lambda h: part(h, *_range(h), 7, b"x" * 10),
    "a range that is none": lambda h: headers(h, 206, Content_Range="bytes */*"),
    "no range at all": lambda h: headers(h, 206),
    "an empty part": lambda h: part(h, *_range(h), "*", b""),
    "random bytes": lambda h: part(h, *_range(h), "*", bytes(range(256)) * 8),
    "a compressed bomb": bomb,
    "a teapot": lambda h: headers(h, 418),
    "nothing": lambda h: setattr(h, "close_connection", True),
}


@pytest.mark.parametrize("answer", CONTENT.values(), ids=CONTENT)
def test_hostile_content_is_one_sentence(answer, hub, capsys):
    hub.hostile = lambda handler, path: "/resolve/" in path and not answer(handler)
    assert main(["weights", "--base", MODEL, "--suspect", MODEL]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
