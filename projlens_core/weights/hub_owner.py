"""The models that an owner has on the Hub, each at its commit of now."""

import json
import os
import re
from urllib.parse import quote, urlsplit

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.runtime.text import printable
from projlens_core.sources import HUB_PREFIX
from projlens_core.weights.hub import ENDPOINT, asking, bounded

PAGE = 1000  # models of one answer
MOST = 10_000  # answers: ten million models
_OWNER = re.compile(r"[\w.-]{1,96}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def models_of(owner: str) -> list[str]:
    """hub:OWNER/NAME@COMMIT of all models of the owner, by name; NotFound if there are none that may be read.

    InvalidInput for a name that no owner has, and if the Hub does not list them.
    """
    if not _OWNER.fullmatch(owner):
        raise InvalidInput(f"{printable(owner[:80])!r} is no owner on the Hub; write hub:OWNER.")
    endpoint = os.environ.get("HF_ENDPOINT", ENDPOINT).rstrip("/")
    host = urlsplit(endpoint).hostname or endpoint
    url: str | None = f"{endpoint}/api/models?author={quote(owner)}&limit={PAGE}&expand[]=sha"
    found: dict[str, None] = {}
    with asking(f"{host} does not list the models of {owner}", "try later"):
        for _ in range(MOST):
            if url is None:
                break
            data, headers = bounded(url, host, owner)
            for each in json.loads(data):
                name, commit = each["id"], each.get("sha") or "main"
                if re.fullmatch(rf"{re.escape(owner)}/[\w.-]+", name) and (
                    commit == "main" or _COMMIT.fullmatch(commit)
                ):
                    found[f"{HUB_PREFIX}{name}@{commit}"] = None
            url = _next(headers.get("Link", ""), endpoint)
    if not found:
        raise NotFound(f"{host} has no model of {owner!r} that may be read.")
    return sorted(found)


def _next(link: str, endpoint: str) -> str | None:
    """The address of the next answer, if there is one on the same server."""
    hit = re.search(r'<([^>]+)>\s*;\s*rel="next"', link)
    if hit is None or not hit[1].startswith(f"{endpoint}/"):
        return None
    return hit[1]
