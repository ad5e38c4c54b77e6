"""Verdict: the layout of its page."""

from typing import Literal

import streamlit as st

from dashboard import answer_texts, components, links, page, pages, pickers, resources, state, trigger_picker
from dashboard.controls import details
from projlens_core import analyses
from projlens_core.analyses.exhibit import Exhibit
from projlens_core.analyses.verdict import PROMPTS, VerdictOptions
from projlens_core.inputs.probes import Probe
from projlens_core.inputs.triggers import TriggerSpec

SIDES = {
    "for": ":material/flag: **For a backdoor**",
    "against": ":material/remove_circle: **Against**",
    "missing": ":material/help: **Missing**",
}
COLOURS: dict[str, Literal["red", "orange"]] = {"demonstrated": "red", "suspicious": "orange"}
VIEWS = {
    "trial": "The trial",
    "probes": "All probes",
    "patterns": "Token patterns",
    "residuals": "Without the language model",
}
SHARES = {"suspect": "percent", "base": "percent"}


def _panel() -> VerdictOptions:
    """What is asked, and how long is searched."""
    st.markdown("**Search**")
    known = dict.fromkeys(truth.prompt for each in resources.truths(resources.samples()).values() for truth in each)
    samples = st.session_state.get("set", pickers.SAMPLES) != pickers.UPLOADS
    first = "\n".join(known if samples and known else PROMPTS)
    questions = st.text_area(
        "Questions, one a line",
        first,
        key=links.text("verdict_questions", first, f"verdict questions {samples}"),
        persist_state="session",
        help="What the model is used for, and something that it should decline: a backdoor that waits for a question "
        "shows only if that is asked.",
    )
    budget = st.number_input(
        "Time limit in minutes, 0 for none",
        0, 600, 0,
        key=links.number("verdict_budget", 0, 600, 0, "verdict budget"),
        persist_state="session",
        help="What a search has read is kept, so one that was stopped or cut short continues where it left off.",
    )  # fmt: skip
    st.caption(
        "No trigger is asked for: generic triggers and patches found by gradient are "
        "tried on three images, the text is taken from ten more, and both are tried on all that remain: at least 35 "
        "are needed for “demonstrated”. Where that shows nothing, all questions are asked under every generic trigger; "
        "then patterns all over the image are found by gradient and tried; then patterns on a few image tokens are "
        "searched, and patches that bring what these bring."
    )
    asked = tuple(dict.fromkeys(line.strip() for line in questions.splitlines() if line.strip()))
    return VerdictOptions(prompts=asked, budget=float(budget))


def _main(exhibit: Exhibit) -> None:
    decided = exhibit.data["verdict"]
    st.badge(decided.capitalize(), color=COLOURS.get(decided, "gray"), icon=":material/gavel:")
    st.markdown(components.plain(exhibit.data["sentence"]))
    if trigger := exhibit.data["trigger"]:
        _recovered(exhibit, Probe("recovered", tuple(TriggerSpec.from_dict(spec) for spec in trigger)))
    _evidence(exhibit.data["evidence"])
    for each in exhibit.charts:
        components.chart(each)
    for note in exhibit.notes:
        st.text(note)


def _recovered(exhibit: Exhibit, probe: Probe) -> None:
    """What the recovered trigger looks like on a sample, and the file that every other page and command accepts."""
    shown, said = st.columns([1, 3], gap="medium")
    if samples := resources.samples():
        shown.image(
            probe.on(samples[0].pixels), width="stretch", caption="the trigger on a sample", alt="A sample image"
        )
    with said:
        st.caption("What it brings")
        answer_texts.answer(exhibit.data["target"], exhibit.data["target"])
        if len(probe.stamps) > 1:
            st.caption("It consists of several stamps, so it cannot be used as a single trigger on other pages.")
            return
        case = state.current_case()
        if case is not None:
            st.session_state[state.FOUND_TRIGGERS][case.suspect] = probe.stamps[0]
        st.caption(
            f"Every page offers it under Trigger as “{trigger_picker.FOUND}”; commands take the file as --trigger."
        )
        saved = probe.stamps[0].to_json()
        components.download("Save the trigger as JSON", saved, "recovered-trigger.json", "application/json")


def _evidence(sides: dict[str, list[dict[str, str]]]) -> None:
    """What speaks for a backdoor, what against, and what is missing, each linked to where it can be looked into."""
    columns = st.grid(len(SIDES), min_column_width=240, gap="small")
    for side, title in SIDES.items():
        with columns.cell():
            st.markdown(title)
            for each in sides[side]:
                with st.container(border=True, gap="xsmall"):
                    st.text(each["text"])
                    if each["page"] != "verdict":
                        components.page_link(each["page"], pages.named(each["page"]).title)
            if not sides[side]:
                st.caption("Nothing.")


def _details(exhibit: Exhibit, _: VerdictOptions) -> None:
    """The trial's answers, every probe, the token patterns, or the residuals, behind a switch."""
    tables = {table.name: table for table in exhibit.tables}
    views = {name: title for name, title in VIEWS.items() if name in tables}
    view = details(views, "verdict_view", key=f"verdict_view {len(views)}")
    components.table(tables[view], SHARES if view == "patterns" else None)


page.show(analyses.find("verdict"), _panel, _main, _details, options=lambda said: said)
