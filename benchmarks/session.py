"""One session without its browser: speaks to the server as Streamlit's page does, and keeps what it is sent.

A Chromium a session would need far more memory and time than the server that is to be measured.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import unescape
from io import BytesIO
from urllib.parse import urlencode

import pandas as pd
import pyarrow as pa
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.VegaLiteChart_pb2 import VegaLiteChart
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.report import NoFigures

LONGEST = 300  # s that one run of the script may take


class Session:
    """What one user has on screen. told: every progress text shown during the last run, in order."""

    def __init__(self, socket: ClientConnection):
        self._socket = socket
        self._drawn: dict[tuple[int, ...], Element] = {}
        self._pages: dict[str, str] = {}  # path in the URL → hash
        self._page, self._query = "", ""
        self.reported: list[str] = []

    async def open(self, page: str, params: Mapping[str, str]) -> None:
        """Go to a page's address, as by a link or the browser's back button; the first time, as a new tab does."""
        self._query = urlencode(params)
        await self._run(page_name="" if page in self._pages else page, page_script_hash=self._pages.get(page, ""))

    async def choose(self, label: str, option: str) -> None:
        """Choose an option of the select box of that label."""
        await self._changed(self.one("selectbox", label).id, string_value=option)

    async def press(self, label: str) -> None:
        """Press the button of that label."""
        await self._changed(self.one("button", label).id, trigger_value=True)

    def all(self, kind: str) -> list:
        """All elements of a kind, named as in Streamlit's protocol, in the order of the page."""
        drawn = (self._drawn[place] for place in sorted(self._drawn))
        return [getattr(element, kind) for element in drawn if element.WhichOneof("type") == kind]

    def one(self, kind: str, label: str) -> object:
        """The first element of a kind that has this label; NoFigures if there is none."""
        found = next((element for element in self.all(kind) if element.label == label), None)
        if found is None:
            raise NoFigures(f"There is no {kind} {label!r} on the page {self._query!r}.")
        return found

    def html(self) -> list[str]:
        """What elements of HTML say: the line that names the case, and answers."""
        return [unescape(re.sub("<[^>]*>", "", element.body)) for element in self.all("html")]

    async def _changed(self, widget: str, **value: object) -> None:
        message = BackMsg()
        message.rerun_script.widget_states.widgets.add(id=widget, **value)
        await self._run(message, page_script_hash=self._page)

    async def _run(self, message: BackMsg | None = None, **where: str) -> None:
        """Let the script run, and take all it sends until it has finished; NoFigures if it fails or takes too long."""
        message = message or BackMsg()
        message.rerun_script.query_string = self._query
        for name, value in where.items():
            setattr(message.rerun_script, name, value)
        self.reported = []
        await self._socket.send(message.SerializeToString())
        try:
            async with asyncio.timeout(LONGEST):
                while not self._take(ForwardMsg.FromString(await self._socket.recv())):
                    pass
        except TimeoutError as error:
            raise NoFigures(f"The page {self._query!r} was not there after {LONGEST} s.") from error
        if failed := self.all("exception"):
            raise NoFigures(f"The page {self._query!r} failed: {failed[0].type}: {failed[0].message}")

    def _take(self, message: ForwardMsg) -> bool:
        """Keep what a message says; whether it was the last of a finished run."""
        match message.WhichOneof("type"):
            case "new_session":
                self._drawn = {}
            case "navigation":
                self._page = message.navigation.page_script_hash
                self._pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
            case "page_info_changed":
                self._query = message.page_info_changed.query_string
            case "delta":
                self._draw(tuple(message.metadata.delta_path), message)
            case "script_finished":
                return message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
        return False

    def _draw(self, place: tuple[int, ...], message: ForwardMsg) -> None:
        """Put an element in its place, where it takes that of all that lay there."""
        for below in [other for other in self._drawn if other[: len(place)] == place]:
            del self._drawn[below]
        if message.delta.WhichOneof("type") == "new_element":
            self._drawn[place] = element = message.delta.new_element
            if element.WhichOneof("type") == "progress":
                self.reported.append(element.progress.text.replace("\\", ""))


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Session]:
    """A session with the server, ended with the block as by closing the tab."""
    address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
    async with connect(address, subprotocols=["streamlit"], max_size=None) as socket:
        yield Session(socket)


def frames(chart: VegaLiteChart) -> list[pd.DataFrame]:
    """The data of a chart."""
    data = [each.data.data for each in chart.datasets] or [chart.data.data]
    return [pa.ipc.open_stream(BytesIO(each)).read_pandas() for each in data]
