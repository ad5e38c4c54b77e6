"""Activation: where and how far does the trigger push the image along the backdoor direction?"""

from dataclasses import asdict
from typing import TypeVar

import streamlit as st

from dashboard import components, pages, pickers, resources, results
from dashboard.controls import details, switch
from dashboard.page import case_under
from dashboard.views import maps, set_details, shift_details
from dashboard.views.shift_details import Look, Seen
from projlens_core.activations.direction import DirectionKind
from projlens_core.analyses.activation import numbers
from projlens_core.errors import ProjLensError
from projlens_core.report.summary import finding

K = TypeVar("K", bound=str)
ROLES = {"suspect": "Suspect", "control": "Control"}
DIRECTIONS: dict[DirectionKind, str] = {"universal": "The samples", "image": "This image", "pair": "This pair"}
MEASURES = {"absolute": "Absolute", "signed": "Signed"}
DETAILS = {
    "Distribution": shift_details.distribution,
    "Norm and shift": shift_details.norm_shift,
    "Embedding map": shift_details.embedding_map,
    "Patches": shift_details.patches,
    "Images ranked": set_details.ranked,
    "Directions": set_details.directions,
    "Spectrum": set_details.spectrum,
    "All numbers": shift_details.all_numbers,
}


def page() -> None:
    """Draw the page."""
    case = case_under(pages.of("activation"))
    if case is None:
        return
    main, images, triggers, below = components.layout()
    with images:
        chosen = pickers.image_panel()
    with triggers:
        choice = pickers.trigger_panel(case, chosen) if chosen else None
    with main:
        if chosen is None:
            components.empty("No image yet", "Upload one to see where the suspect pushes it.")
            return
        if choice is None:
            return
        headlines = st.container()
        look = _look(choice, has_control=case.control is not None)
        try:
            with components.progress() as progress:
                opened = resources.opened(case, progress)
                tower = resources.vision(case, progress)
                clean, triggered = pickers.images(case, choice)
                found = results.subject(opened, tower, clean, triggered, choice.spec, look.direction, progress)
                samples = results.sample_reference(opened, tower, choice.spec, look.direction, progress)
        except ProjLensError as error:
            components.failure(error, "This image cannot be analysed")
            return
        if samples is not None:
            with headlines:
                cards = numbers.headlines(samples, found, look.signed)
                components.metrics(cards, control=opened.control is not None)
        components.parts(resources.whose(case))
        maps.heatmaps(found, clean, triggered, look.role, look.signed, maps.outline(choice))
        components.page_link("response", "Ask the model about this image")
    if samples is None:
        return
    apart = {role: each.separation for role, each in samples.by_role.items()}
    shown = {"samples": {role: {"separation": each and asdict(each)} for role, each in apart.items()}}
    resources.remember(case, finding("activation", shown))
    with below:
        name = details(list(DETAILS), "activation_view", wrap=True)
        names = tuple(p.name for p in resources.samples())
        DETAILS[name](Seen(opened, tower, choice, look, samples, found, names))


def _look(choice: pickers.Choice, *, has_control: bool) -> Look:
    """The bar over the image: under which projector, along which direction, with or without the sign."""
    alone = choice.spec is None and choice.twin is None
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        role = switch(
            "Projector",
            {role: name for role, name in ROLES.items() if has_control or role == "suspect"},
            "projector",
            help="Suspect and control are drawn on the same scale.",
        )
        direction = switch(
            "Drift direction v₀ of",
            {name: title for name, title in DIRECTIONS.items() if not (alone and name == "pair")},
            "direction",
            help="The samples: the universal direction, one for every image, found on all samples that ship with "
            "ProjLens and their triggered twins. This image: its own, from the clean image alone. This pair: its own, "
            "from the clean and the triggered image together.",
        )
        measure = switch(
            "Measure", MEASURES, "measure", help="Absolute: |ΔE·v₀|, how far. Signed: ΔE·v₀, also which way."
        )
    return Look(role, direction, measure == "signed")


page()
