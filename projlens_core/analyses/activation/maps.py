"""The embedding map: where base, suspect and control put the same images and patches, clean and triggered."""

from typing import Literal

from projlens_core.activations.embedding_map import EmbeddingMap
from projlens_core.analyses.activation import map_charts
from projlens_core.analyses.exhibit import Chart

Of = Literal["images", "patches"]
POINTS: dict[Of, tuple[str, str]] = {  # what a dot is, and in one word
    "images": ("an image, the mean of its patches' embeddings", "image"),
    "patches": ("a patch of the image on screen", "patch"),
}


def charts(found: EmbeddingMap, of: Of) -> tuple[Chart, ...]:
    """One chart a projector, base first; all of them have the same axes."""
    described, one = POINTS[of]
    paired = any(len(each) == 2 for each in found.points.values())
    line = ", and a line leads from the clean one to the triggered one" if paired else ""
    caption = (
        f"How to read this: one dot is {described}{line}. The axes, the same in all panels, are the two directions "
        "along which all these points together vary most, with their shares of the variance. Where lines are longer, "
        "or lead elsewhere, in the suspect than in base and control, the trigger does something in the suspect alone; "
        "where clean dots lie elsewhere than in base, fine-tuning moved clean images as well."
    )
    return tuple(
        Chart(
            f"map-{of}-{role}",
            map_charts.embedded(f"{role.capitalize()}: {of}", points, found.ends(), found.explained, one),
            caption,
            f"Embedding map of {of} under {role}, {' and '.join(points)}.",
        )
        for role, points in found.points.items()
    )


def data(found: EmbeddingMap) -> dict:
    """Points and shares, ready for JSON."""
    points = {role: {c: each.tolist() for c, each in by.items()} for role, by in found.points.items()}
    return {"explained": list(found.explained), "points": points}
