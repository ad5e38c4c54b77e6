"""The Activation page's details about the image and the samples: distribution, norm and shift, patches, numbers."""

from dataclasses import dataclass

import streamlit as st

from dashboard import components, shift_results, state
from dashboard.controls import switch
from dashboard.pickers import Choice
from dashboard.views import maps
from projlens_core.activations.direction import DirectionKind
from projlens_core.activations.towers import Towers
from projlens_core.analyses.activation import exhibit as activation
from projlens_core.analyses.activation import maps as embedding
from projlens_core.analyses.activation import numbers
from projlens_core.analyses.activation.measure import ImageShift, SampleShift
from projlens_core.analyses.shift import tables as embedding_tables
from projlens_core.cases.case import OpenedCase
from projlens_core.stats.lines import NormAxis

DOTS: dict[embedding.Of, str] = {"images": "An image of the samples", "patches": "A patch of this image"}
AXES: dict[NormAxis, str] = {"output": "Norm of base's output ‖E_b‖", "input": "Norm of the projector's input ‖h‖"}


@dataclass(frozen=True)
class Look:
    """How the shift is looked at: under which projector, along which direction, with or without its sign."""

    role: str
    direction: DirectionKind
    signed: bool


@dataclass(frozen=True)
class Seen:
    """The case, the image on screen under each of its projectors, and the samples that it is compared with."""

    opened: OpenedCase
    tower: Towers
    choice: Choice
    look: Look
    samples: SampleShift
    found: dict[str, ImageShift]
    sample_names: tuple[str, ...]


def distribution(seen: Seen) -> None:
    """How far all samples' patches are pushed."""
    components.chart(activation.distribution(seen.samples, seen.found, seen.look.signed))


def norm_shift(seen: Seen) -> None:
    """Shift against norm: every sample's patches, this image's among them, and both lines."""
    norm = switch("Norm", AXES, "norm_axis", "output", labelled=False)
    related = shift_results.relations(
        seen.opened, seen.tower, seen.choice.spec, seen.look.direction, norm, seen.samples
    )
    tokens = next(iter(seen.found["suspect"].conditions.values())).shift.shape[1]
    chosen = state.current_patch(tokens)
    columns = st.grid(2, min_column_width=280, gap="small")
    charts = activation.norm_shifts(related, seen.found, norm, chosen)
    for each in charts:
        key = f"{each.name} {norm} {chosen}"
        components.draw(each, columns, key=key, on_select=lambda key=key: maps.clicked(key, "dot", tokens))
    for role, by_condition in related.items():
        for condition, relation in by_condition.items():
            if relation.fit.note:
                st.text(f"{role.capitalize()}, {condition}: {relation.fit.note}")
    st.caption(charts[0].caption)
    components.table(embedding_tables.norm_shift(related, norm))
    with st.expander("Outliers of the robust line, none of them dropped", icon=":material/scatter_plot:"):
        components.table(embedding_tables.outliers(related, seen.sample_names))


def embedding_map(seen: Seen) -> None:
    """Where base, suspect and control put the samples' images, or the patches on screen."""
    found = activation.embedding_maps(seen.samples, seen.found)
    of = switch("A dot is", {name: DOTS[name] for name in found}, "map_of", labelled=False)
    drawn = embedding.charts(found[of], of)
    components.charts(drawn, len(drawn), 220, alike=True)


def patches(seen: Seen) -> None:
    """Every patch of the image on screen."""
    components.table(numbers.patches(seen.found))


def all_numbers(seen: Seen) -> None:
    """Every figure of the analysis."""
    components.table(numbers.numbers(seen.samples))
