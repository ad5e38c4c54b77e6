import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.front import RENAMED, STEPS, WHERE, Front
from dashboard.pages import sections


async def _elsewhere(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _ask(path: str, query: str = "") -> tuple[int, dict[str, str], str]:
    """Status, headers and body of what stands before the server, which itself always answers 418."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    with ThreadPoolExecutor(1) as thread:  # after a browser's tests this one has an event loop that runs already
        thread.submit(lambda: asyncio.run(Front(_elsewhere)(scope, None, send))).result()
    start, body = sent
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body["body"].decode()


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_address_is_sent_on_with_all_that_it_says(old, new):
    status, headers, _ = _ask(f"/{old}", "base=zoo%3Abase&suspect=b%26c&sign=minus")
    assert status == 308
    assert headers["location"] == f"./{new}?base=zoo%3Abase&suspect=b%26c&sign=minus"


def test_an_old_address_leads_to_a_page_of_today():
    names = {page.name for shown in sections().values() for page in shown}
    assert {new or "summary" for new in RENAMED.values()} <= names


def test_every_page_learns_where_the_server_is():
    names = {page.name for shown in sections().values() for page in shown} - RENAMED.keys()
    for name in names:
        status, headers, body = _ask(f"/{name}")
        assert (status, headers["cache-control"]) == (200, "no-cache")
        assert WHERE in body
        assert STEPS in body


@pytest.mark.parametrize("path", ["/_stcore/health", "/case/_stcore/health", "/media/case", "/healthz", "/Case"])
def test_everything_else_is_the_servers(path):
    assert _ask(path)[0] == 418


def test_the_first_page_is_one_step_of_the_history_too():
    status, _, body = _ask("/")
    assert status == 200
    assert STEPS in body
    assert WHERE not in body
