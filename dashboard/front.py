"""What stands before Streamlit's server: old addresses are sent on, and pages get two things said before they begin.

A page that changes its address stays one step of the browser's history; and a page that is opened by its own address
is told where the server is.

Without being told, Streamlit's browser side looks for its server below the page's address first (/case/_stcore/health)
and logs two 404s before it finds it. Nothing here needs a model or a case, so that the server starts as fast without.
"""

import re
from pathlib import Path

from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config, file_util

from projlens_core import analyses
from projlens_core.charts import palette

# Old name → today's; "" is the first page, which has no name of its own. An address that was once given stays good.
RENAMED = {"weights": "spectrum", "direction": "lens", "asr": "response", "summary": ""}
HEAD = "<head>"
WHERE = 'window.__streamlit = {BACKEND_BASE_URL: new URL(".", location.href).href}'
STEPS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
_PALE = ",".join(f'.role-mark text[fill="{c}" i]' for c in (palette.NULL, palette.SUSPECT, palette.CONTROL))
LOOK = Path(__file__).with_suffix(".css").read_text(encoding="utf-8").replace("(PALE)", f"({_PALE})")


class Front:
    """Middleware (ASGI) that answers for the addresses of pages and lets everything else through."""

    def __init__(self, app: ASGIApp):
        self._app = app
        layouts = (Path(__file__).parent / "app_pages").glob("*.py")
        self._pages = {*analyses.KEYS, *(file.stem for file in layouts)} - RENAMED.keys()
        self._index = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; see ASGI."""
        answer = self._answer(scope) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        await (answer or self._app)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        base = "/".join(("", *config.get_option("server.baseUrlPath").strip("/").split("/"))).rstrip("/")
        named = re.fullmatch(re.escape(base) + "/([a-z_]*)", scope["path"])
        name = named[1] if named else None
        if name in RENAMED:
            query = scope["query_string"].decode("latin-1")
            # relative: behind a proxy the server may not know its own address
            return RedirectResponse(f"./{RENAMED[name]}" + (f"?{query}" if query else ""), 308)
        if name == "" or name in self._pages:
            script = STEPS + (WHERE if name else "")  # the first page's address says where the server is
            page = self._index.replace(HEAD, f"{HEAD}<script>{script}</script><style>{LOOK}</style>", 1)
            return HTMLResponse(page, headers={"Cache-Control": "no-cache"})
        return None
