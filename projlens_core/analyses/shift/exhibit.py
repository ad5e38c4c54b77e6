"""The embedding shift of a set of images: how many directions, out of which weights, and which images move most."""

from collections.abc import Mapping

import numpy as np

from projlens_core.activations.agreement import TOGETHER, Agreement
from projlens_core.activations.embedding_spectrum import Band, EmbeddingSpectrum, band, chance_cosine
from projlens_core.activations.ranking import By, Ranking
from projlens_core.analyses.exhibit import Chart, Exhibit, Metric
from projlens_core.analyses.shift import ANALYSIS, charts, tables
from projlens_core.analyses.shift.tables import TOP, Roles

FEW = 5  # directions into which the paper finds nearly all of the shift to fit
ALONE = (
    "No control: an honest fine-tune moves embeddings along few directions too, so these numbers describe the shift "
    "and do not say whether it is a backdoor's."
)


def shift(by_role: Roles, settings: dict) -> Exhibit:
    """Everything about a set; settings says what decides the numbers, as Exhibit.data keeps it."""
    related = {role: {c: s.relation for c, s in one.conditions.items()} for role, one in by_role.items()}
    rankings = {role: {c: s.ranking for c, s in one.conditions.items()} for role, one in by_role.items()}
    names = by_role["suspect"].conditions["clean"].ranking.names
    notes = [] if "control" in by_role else [ALONE]
    notes += unreached(by_role)
    return ANALYSIS.exhibit(
        metrics=metrics(by_role),
        charts=(*spectra(by_role), *agreements(by_role), universality(by_role), *ranked(rankings, "mean")),
        tables=(
            tables.images(by_role),
            tables.norm_shift(related, by_role["suspect"].norm),
            tables.spectrum(by_role),
            tables.agreement(by_role),
            tables.outliers(related, names),
            tables.own_directions(by_role),
        ),
        data={"settings": settings} | {role: tables.as_data(one) for role, one in by_role.items()},
        notes=tuple(notes),
    )


def metrics(by_role: Roles) -> tuple[Metric, ...]:
    """The headline numbers: concentration of ΔE, its agreement with ΔW, and of images with each other."""
    suspect, control = by_role["suspect"], by_role.get("control")
    condition = "triggered" if "triggered" in suspect.conditions else "clean"
    energy = _few(suspect.conditions[condition].spectrum)
    cards = [
        Metric(
            f"Energy in the top {FEW} of ΔE",
            f"{energy.mean[-1]:.0%}",
            f"{_few(control.conditions[condition].spectrum).mean[-1]:.0%}" if control else None,
            f"{energy.low[-1]:.0%} – {energy.high[-1]:.0%}" if np.isfinite(energy.low[-1]) else None,
            f"Share of a {condition} image's ‖ΔE‖² that its {FEW} strongest directions hold, mean over images, "
            "with the mean's 95 % interval.",
        )
    ]
    if suspect.agreements:
        wide = suspect.agreements[-1]
        theirs = control.agreements[-1] if control and control.agreements else None
        rank = min(FEW, len(wide.share))
        cards.append(
            Metric(
                f"Drift to top {rank} of ΔW",
                f"{_angle(wide):.0f}°",
                f"{_angle(theirs):.0f}°" if theirs else None,
                f"chance {wide.chance_angle[rank - 1]:.0f}°",
                f"Angle between the drift direction and all that the {rank} strongest components of each ΔW reach: "
                "0° is inside. Beside it the median of random directions.",
            )
        )
    cards.append(
        Metric(
            "Images sharing v₀",
            f"{np.median(suspect.conditions[condition].cosines):.2f}",
            f"{np.median(control.conditions[condition].cosines):.2f}" if control else None,
            f"chance below {chance_cosine(len(suspect.direction.vector)):.2f}",
            f"Median |cos| between a {condition} image's own drift direction and the universal one; 1 is the same.",
        )
    )
    return tuple(cards)


def spectra(found: Roles) -> tuple[Chart, ...]:
    """Singular values of ΔE and their energy, mean and band, for each projector on shared axes."""
    values = {r: {c: band(s.spectrum.values) for c, s in one.conditions.items()} for r, one in found.items()}
    energy = {r: {c: band(s.spectrum.energy) for c, s in one.conditions.items()} for r, one in found.items()}
    tops = [curve.mean[0] + np.nan_to_num(curve.std[0]) for curves in values.values() for curve in curves.values()]
    caption = (
        "How to read this: lines are means over images, the dark band the mean's 95 % interval, the light one a "
        "standard deviation. A shift that needs few directions falls steeply; see whether the control's does too."
    )
    drawn = [
        ("values", "Singular values of ΔE", values, "singular value σₖ", (0.0, 1.05 * max(tops)), False),
        ("energy", "Energy of ΔE", energy, "cumulative energy", (0.0, 1.0), True),
    ]
    return tuple(
        Chart(
            f"embedding-{name}-{role}",
            charts.bands(f"{role.capitalize()}: {title}", curves, TOP, measure, domain, share),
            caption,
            f"{title} by rank, mean over images with bands, clean and triggered, {role}.",
        )
        for name, title, by_role, measure, domain, share in drawn
        for role, curves in by_role.items()
    )


def agreements(found: Roles) -> tuple[Chart, ...]:
    """Angle between drift and reach of each ΔW, suspect and control over chance; none where nothing is reached."""
    by_name: dict[str, dict[str, Agreement]] = {}
    for role, one in found.items():
        for each in one.agreements:
            by_name.setdefault(each.reach.name, {})[role] = each
    return tuple(
        Chart(
            f"agreement-{name.replace(' ', '-')}",
            charts.agreement(f"Drift against {title}", by_role, "all"),
            "How to read this: 0° means that the drift direction lies inside what these components of ΔW can write; "
            "the dashed line is a random direction. An earlier layer is followed to first order, through the mean "
            "gate of the later ones, so a large angle does not clear it.",
            f"Angle between the drift direction and the reach of {name}, by number of components.",
        )
        for name, by_role in sorted(by_name.items(), key=lambda item: item[0] == TOGETHER)
        for title in [name if name == TOGETHER else f"ΔW of {name.removesuffix('.weight')}"]
    )


def universality(by_role: Roles) -> Chart:
    """Each image's own drift direction against the universal one."""
    cosines = {role: {c: s.cosines for c, s in one.conditions.items()} for role, one in by_role.items()}
    suspect = by_role["suspect"]
    return Chart(
        "universality",
        charts.universality(
            "One direction for all images?",
            cosines,
            suspect.conditions["clean"].ranking.names,
            chance_cosine(len(suspect.direction.vector)),
        ),
        "How to read this: one tick per image; at 1 its own drift direction is the universal one, left of the dashed "
        "line it is no closer to it than random directions are. The sign of a direction is a convention and left out.",
        "Strip of cosines between each image's own drift direction and the universal one.",
    )


def ranked(rankings: Mapping[str, Mapping[str, Ranking]], by: By) -> tuple[Chart, ...]:
    """Images by how far they are pushed, for each projector on one scale; {role: {condition: ranking}}."""
    limit = max(float(getattr(r, by).max()) for by_condition in rankings.values() for r in by_condition.values())
    return tuple(
        Chart(
            f"ranking-{role}",
            charts.ranked(f"{role.capitalize()}: images by {by} shift", by_condition, by, 1.05 * limit or 1.0),
            "How to read this: one dot per image, the farthest pushed first, clean and triggered ranked apart; a "
            "backdoor lifts the triggered dots off the clean ones, which an honest fine-tune does not.",
            f"Shift of every image in descending order, clean and triggered, {role}.",
        )
        for role, by_condition in rankings.items()
    )


def unreached(by_role: Roles) -> list[str]:
    """A sentence for each projector of which no matrix changed in a way that can be followed."""
    return [
        f"{role.capitalize()}: no matrix changed whose output can be followed to the embeddings, so weights and "
        "drift are not compared."
        for role, one in by_role.items()
        if not one.agreements
    ]


def _few(spectrum: EmbeddingSpectrum) -> Band:
    return band(spectrum.energy[:, :FEW])


def _angle(agreement: Agreement) -> float:
    angles = agreement.angles["all"]
    return float(angles[min(FEW, len(angles)) - 1])
