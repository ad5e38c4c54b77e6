"""A page elsewhere cannot use the browser of whoever has the dashboard open: uploads need the server's own token."""

import urllib.error
import urllib.request

import pytest

FORGED = {
    "no token": {},
    "a token without its cookie": {"X-Xsrftoken": "2|aaaaaaaa|bbbbbbbb|1"},
    "a cookie without its token": {"Cookie": "_streamlit_xsrf=2|aaaaaaaa|bbbbbbbb|1"},
    "two that differ": {"X-Xsrftoken": "2|aaaaaaaa|bbbb|1", "Cookie": "_streamlit_xsrf=2|cccccccc|eeee|1"},
    "another origin": {"Origin": "http://evil.example"},
    "a name rebound": {"Host": "evil.example"},
}
PLACES = ("_stcore/upload_file/session/file", "_stcore/upload_file/../upload_file/x/y")


def answered(request: urllib.request.Request) -> int:
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError):  # the server hangs up before the body is sent
        return 400


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_forged_upload_is_refused(server, headers, place, method):
    request = urllib.request.Request(f"{server.url}/{place}", data=b"x", method=method, headers=headers)
    assert answered(request) in (400, 403, 404, 405)
