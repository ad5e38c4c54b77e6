"""The pages, in the order of the sidebar: which question each answers, and where it lies."""

from dataclasses import dataclass

import streamlit as st

from projlens_core import analyses


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
        return f"app_pages/{self.name}.py"


CASE = Page("case", "Case", ":material/fingerprint:", "What was changed in this projector?")
WEIGHTS = Page("weights", "Weights", ":material/table_chart:", "How is the change of the projector built?")
ACTIVATION = Page("activation", "Activation", ":material/grid_on:", "Where does the trigger push the image, how far?")
DIRECTION = Page("direction", "Direction", ":material/explore:", "Which words does the backdoor direction point to?")
ICONS = {"neurons": ":material/hub:", "separability": ":material/join_inner:"}


def of(key: str) -> Page:
    """The page of the analysis called `key`; its own module in app_pages only lays it out."""
    analysis = analyses.find(key)
    return Page(key, analysis.title, ICONS.get(key, ":material/science:"), analysis.question)


RESPONSE = Page("response", "Response", ":material/forum:", "What does the model say, with and without the trigger?")
LOWRANK = Page("lowrank", "Low-rank lab", ":material/layers:", "How few directions carry the backdoor?")
ROBUSTNESS = Page("robustness", "Robustness", ":material/tune:", "Which changes of the trigger still work?")
REPORT = Page("report", "Report", ":material/description:", "What can be handed on?")

SECTIONS: dict[str, tuple[Page, ...]] = {
    "Weights": (CASE, WEIGHTS),
    "Activations": (ACTIVATION, DIRECTION, *map(of, analyses.KEYS)),
    "Behaviour": (RESPONSE, LOWRANK, ROBUSTNESS),
    "Evidence": (REPORT,),
}
PAGES = tuple(page for section in SECTIONS.values() for page in section)


def navigation() -> st.navigation:
    """Register all pages, the first as the default, and draw the sidebar: every page with its question."""
    chosen = st.navigation(
        [st.Page(p.file, title=p.title, icon=p.icon, default=p is PAGES[0]) for p in PAGES], position="hidden"
    )
    with st.sidebar:
        for section, pages in SECTIONS.items():
            if not pages:
                continue
            st.caption(section.upper())
            for page in pages:
                with st.container(gap=None):
                    st.page_link(page.file, label=page.title, icon=page.icon)
                    st.caption(page.question)
    return chosen
