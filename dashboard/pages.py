"""The pages, in the order of the sidebar: which question each answers, and where it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.navigation.page import Page as Registered

from dashboard import state
from projlens_core import analyses
from projlens_core.analyses.analysis import Floor

FOLDER = Path(__file__).parent / "app_pages"


@dataclass(frozen=True)
class Page:
    """One page: its file in app_pages, its name, its icon, and the question it answers."""

    name: str
    title: str
    icon: str
    question: str

    @property
    def file(self) -> str:
        """Its path, as st.Page and st.page_link take it."""
        return f"{FOLDER.name}/{self.name}.py"

    def registered(self, plain: Callable[[str], None], *, default: bool) -> Registered:
        """The page for st.navigation; an analysis without a layout of its own is drawn by `plain`, given its key."""
        if (FOLDER / f"{self.name}.py").is_file():
            return st.Page(self.file, title=self.title, icon=self.icon, default=default)
        return st.Page(partial(plain, self.name), title=self.title, icon=self.icon, url_path=self.name, default=default)


SUMMARY = Page(
    "summary",
    "Summary",
    ":material/summarize:",
    "What is evidence for a backdoor, what against it, and what is missing?",
)
DEMO = Page("demo", "Demo", ":material/slideshow:", "How does the backdoor work? Turn the trigger up and watch")
REPAIR = Page("repair", "Repair", ":material/healing:", "Can the backdoor be removed?")
SCREEN = Page("screen", "Screen", ":material/radar:", "Which of many suspects stand out?")
REPORT = Page("report", "Report", ":material/description:", "What can you share?")


BY_HAND = ("verdict",)  # whose place in the sidebar is given


def of(key: str) -> Page:
    """The page of the analysis called `key`."""
    analysis = analyses.find(key)
    return Page(key, analysis.title, analysis.icon, analysis.question)


def sections() -> dict[str, tuple[Page, ...]]:
    """The pages under the heads of the sidebar."""
    return {
        "Verdict": (SUMMARY, of("verdict")),
        "Weights": tuple(_about("weights")),
        "Activations": tuple(_about("activations")),
        "Behaviour": (DEMO, *_about("behaviour")),
        "Undo": (REPAIR,),
        "Evidence": (REPORT,),
        "Population": (SCREEN,),
    }


def named(name: str) -> Page:
    """The page of this name; the Summary, if there is none, as of an address that was saved long ago."""
    return next((page for shown in sections().values() for page in shown if page.name == name), SUMMARY)


def _about(floor: Floor) -> list[Page]:
    found = [
        analysis for analysis in map(analyses.find, analyses.KEYS) if (analysis.section or analysis.floor) == floor
    ]
    return [of(each.key) for each in found if each.page is None and each.key not in BY_HAND]


def navigation(plain: Callable[[str], None], above: Callable[[str], None]) -> Registered:
    """Register all pages, the first as the default, and draw the sidebar: every page with its question.

    plain: draws the page of an analysis that has no layout of its own. above: draws what stands first in the sidebar,
    given the name of the page on screen.
    """
    shown = sections()
    registered = {page: page.registered(plain, default=page is SUMMARY) for pages in shown.values() for page in pages}
    chosen = st.navigation(list(registered.values()), position="hidden")
    taken = state.address() or None
    with st.sidebar:
        above(next(page.name for page, each in registered.items() if each is chosen))
        for section, pages in shown.items():
            st.caption(section.upper())
            for page in pages:
                with st.container(gap=None):
                    st.page_link(registered[page], label=page.title, icon=page.icon, query_params=taken)
                    st.caption(page.question)
    return chosen
