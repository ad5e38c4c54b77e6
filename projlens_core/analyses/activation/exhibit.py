"""One image's shift along the drift direction, patch by patch, and the samples that it is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from projlens_core.activations.embedding_map import EmbeddingMap
from projlens_core.activations.shift import ShiftAnalysis
from projlens_core.analyses.activation import ANALYSIS, maps, numbers
from projlens_core.analyses.activation import charts as shift
from projlens_core.analyses.activation import token_charts as tokens
from projlens_core.analyses.activation.measure import ImageShift, SampleShift
from projlens_core.analyses.activation.numbers import UNIT, short, with_sign
from projlens_core.analyses.exhibit import Chart, Exhibit
from projlens_core.charts import overlays
from projlens_core.stats.lines import NormAxis, NormShift, norm_shift

HEATMAP = (
    "How to read this: each block is one patch of the image, coloured by how far the projector pushes it along the "
    "drift direction; clean and triggered, suspect and control share one scale. The difference is triggered minus "
    "clean: what the trigger adds."
)
NO_GRID = (
    "How to read this: one bar per image token, as high as the projector pushes it along the drift direction. The "
    "tokens of this model lie on no grid, each has read the whole image: so there are bars and no map. The "
    "difference is triggered minus clean."
)
ALONE = (
    "No control: an honest fine-tune pushes patches along one direction too, so this map says where the image is "
    "pushed and not whether a backdoor does it."
)


def activation(
    samples: SampleShift,
    by_role: dict[str, ImageShift],
    images: Mapping[str, str],
    settings: dict,
    norm: NormAxis = "output",
    signed: bool = False,
) -> Exhibit:
    """One image under suspect and control, beside the samples.

    images: {condition: data URI of the grey image}. settings: what decides the numbers, as Exhibit.data keeps it.
    """
    related = {role: relations(analysis, norm) for role, analysis in samples.by_role.items()}
    placed = embedding_maps(samples, by_role)
    return ANALYSIS.exhibit(
        metrics=tuple(numbers.headlines(samples, by_role, signed)),
        charts=(
            *(chart for role in by_role for chart in heatmaps(by_role, images, role, signed)),
            distribution(samples, by_role, signed),
            *norm_shifts(related, by_role, norm),
            *(chart for of, each in placed.items() for chart in maps.charts(each, of)),
        ),
        tables=(numbers.numbers(samples), numbers.patches(by_role)),
        data={
            "settings": settings | {"norm": norm, "signed": signed},
            "samples": {role: _samples(related[role], analysis) for role, analysis in samples.by_role.items()},
            "patches": {
                role: {c: each.tolist() for c, each in subject.maps().items()} for role, subject in by_role.items()
            },
            "map": {of: maps.data(each) for of, each in placed.items()},
        },
        notes=() if "control" in by_role else (ALONE,),
    )


def embedding_maps(samples: SampleShift, by_role: dict[str, ImageShift]) -> dict[maps.Of, EmbeddingMap]:
    """The maps of the samples' means and of the patches on screen, whichever there are."""
    here = next((each.placed for each in by_role.values()), None)
    both: dict[maps.Of, EmbeddingMap | None] = {"images": samples.means, "patches": here}
    return {of: each for of, each in both.items() if each is not None}


def measure(signed: bool) -> str:
    """What is drawn, for axes and legends."""
    return "shift ΔE·v₀" if signed else "shift |ΔE·v₀|"


def _limits(by_role: dict[str, ImageShift], signed: bool) -> tuple[float, float]:
    """Ends of the scales of shifts and of differences: common to suspect and control, so that their maps can be
    compared by eye."""
    maps = [each for subject in by_role.values() for each in subject.maps(signed).values()]
    return _limit(maps), _limit([subject.difference(signed) for subject in by_role.values()])


def heatmaps(
    by_role: dict[str, ImageShift],
    images: Mapping[str, str],
    role: str,
    signed: bool,
    chosen: int | None = None,
    opacity: float = overlays.OPACITY,
    outline: overlays.Box | None = None,
) -> tuple[Chart, ...]:
    """The shift over the clean and the triggered image under one projector, and their difference.

    Of an image without its twin there is one map. `chosen` is the token that has a frame. opacity: of the blocks.
    outline: where the patch of the trigger lies, as shares of the sides. Tokens on no grid are drawn as bars.
    """
    subject, (limit, most) = by_role[role], _limits(by_role, signed)
    if subject.within is None:
        return _bars(subject, limit, most, role, signed, chosen)
    drawn = []
    named = f"{measure(signed)}, {UNIT}"
    for condition, values in subject.maps(signed).items():
        title = f"{condition.capitalize()}, mean {short(values.mean())}"
        alt = f"Heatmap of the shift over the {condition} image, {role}."
        around = outline if condition == "triggered" else None
        given = (images[condition], values, limit, signed, named, chosen, subject.within, opacity, around)
        drawn.append(Chart(f"shift-{condition}-{role}", overlays.heatmap(title, *given), HEATMAP, alt))
    difference = subject.difference(signed)
    if difference is not None:
        title = f"Difference, mean {with_sign(difference.mean())}"
        shown = (images["triggered"], difference, most, True, f"difference, {UNIT}", chosen)
        chart = overlays.heatmap(title, *shown, subject.within, opacity, outline)
        alt = f"Heatmap of the difference, triggered minus clean, {role}."
        drawn.append(Chart(f"shift-difference-{role}", chart, HEATMAP, alt))
    return tuple(drawn)


def _bars(
    subject: ImageShift, limit: float, most: float, role: str, signed: bool, chosen: int | None
) -> tuple[Chart, ...]:
    """Clean beside triggered, token by token, and their difference."""
    values = {c: each.ravel() for c, each in subject.maps(signed).items()}
    title = ", ".join(f"{c} mean {short(each.mean())}" for c, each in values.items()).capitalize()
    chart = tokens.by_token(title, values, limit, signed, measure(signed), chosen)
    drawn = [Chart(f"shift-tokens-{role}", chart, NO_GRID, f"Shift of every image token, {role}.")]
    difference = subject.difference(signed)
    if difference is not None:
        title = f"Difference, mean {with_sign(difference.mean())}"
        chart = tokens.difference_by_token(title, difference.ravel(), most, "difference", chosen)
        alt = f"Difference of every image token's shift, triggered minus clean, {role}."
        drawn.append(Chart(f"shift-difference-{role}", chart, NO_GRID, alt))
    return tuple(drawn)


def distribution(samples: SampleShift, by_role: dict[str, ImageShift], signed: bool) -> Chart:
    """How far all patches of the samples are pushed: upwards under the suspect, downwards under the control."""
    shifts = {
        role: {c: (p.shift if signed else p.shift.abs()).numpy().ravel() for c, p in analysis.conditions.items()}
        for role, analysis in samples.by_role.items()
    }
    means = {role: {c: float(each.mean()) for c, each in by_role[role].maps(signed).items()} for role in shifts}
    below = against = ""
    if "control" in shifts:
        below, against = ", below the line under the control", "; the control shows how far honest training does"
    return Chart(
        "distribution",
        shift.distribution(f"All patches of the {samples.images} samples", shifts, means, f"{measure(signed)}, {UNIT}"),
        f"How to read this: bars are all patches of the {samples.images} samples under the suspect{below}; upright "
        "lines are the mean of the image above. A backdoor moves the triggered bars away from the clean ones"
        f"{against}.",
        f"Distribution of the shift of all patches, clean and triggered, {' and '.join(shifts)}.",
    )


def relations(analysis: ShiftAnalysis, norm: NormAxis) -> dict[str, NormShift]:
    """The samples' norm–shift relation in each condition, on one of the two axes."""
    return {c: norm_shift(part.norms(norm), part.shift) for c, part in analysis.conditions.items()}


def norm_shifts(
    related: Mapping[str, Mapping[str, NormShift]],
    by_role: dict[str, ImageShift],
    norm: NormAxis,
    chosen: int | None = None,
) -> tuple[Chart, ...]:
    """Shift against norm of all samples' patches, with the image's own among them; {role: {condition: relation}}."""
    drawn = []
    for role, by_condition in related.items():
        said = ", ".join(f"r {r.fit.r:.2f} {c}" for c, r in by_condition.items() if r.fit.note is None)
        here = {c: (part.norms(norm)[0].numpy(), part.shift[0].numpy()) for c, part in by_role[role].conditions.items()}
        drawn.append(
            Chart(
                f"norm-shift-{role}",
                shift.norm_shift(f"{role.capitalize()}: {said or 'no fit'}", by_condition, norm, here, chosen),
                "How to read this: one dot per patch, large ones are this image's, rings lie far off the robust line. "
                "Where dots follow a rising line, a larger norm means a larger push: so a trigger activates. Where "
                "the dashed robust line leaves the solid one, a few extreme patches make the solid one. Up to "
                f"{shift.MAX_POINTS:,} dots a condition are drawn; lines fit all patches.",
                f"Shift of every token against its norm, {role}.",
            )
        )
    return tuple(drawn)


def _limit(maps: Sequence[np.ndarray | None]) -> float:
    """The largest magnitude in any of the maps; 1 if all are zero, so that a scale exists."""
    return max((float(np.abs(values).max()) for values in maps if values is not None), default=0.0) or 1.0


def _samples(related: Mapping[str, NormShift], analysis: ShiftAnalysis) -> dict:
    return {
        "direction_cosine": analysis.direction_cosine,
        "explained": analysis.direction.explained,
        "separation": asdict(analysis.separation) if analysis.separation else None,
        "null": asdict(analysis.null),
        **{
            condition: {"fit": asdict(found.fit), "robust_fit": asdict(found.robust)}
            for condition, found in related.items()
        },
    }
