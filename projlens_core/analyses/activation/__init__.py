"""One image's shift along the drift direction, patch by patch, and the samples that it is compared with."""

from typing import TYPE_CHECKING

from projlens_core.analyses.analysis import Analysis, Options

if TYPE_CHECKING:
    from projlens_core.analyses.activation.measure import ImageShift, SampleShift
    from projlens_core.analyses.context import AnalysisContext
    from projlens_core.analyses.exhibit import Exhibit

    Result = tuple[SampleShift, dict[str, ImageShift]]


def _measure(context: "AnalysisContext", options: Options) -> "Result":
    """All images, and the first of them compared with all; alone where there is no trigger."""
    from projlens_core.analyses.activation import measure  # only here: it brings PyTorch

    pair, report = context.images, context.progress
    samples = measure.sample_shift(
        context.opened, context.vision, pair.clean, pair.triggered, "universal", progress=report
    )
    if pair.triggered is None:
        return samples, {}
    twins = pair.clean[0], pair.stamped[0]
    return samples, measure.image_shift(context.opened, context.vision, *twins, "universal", samples, report)


def _present(result: "Result", context: "AnalysisContext", settings: dict) -> "Exhibit":
    from PIL import ImageOps

    from projlens_core.analyses.activation.exhibit import activation  # only here: it brings Altair
    from projlens_core.charts.overlays import data_uri

    pair = context.attacked
    images = {"clean": pair.clean[0], "triggered": pair.stamped[0]}
    grey = {condition: data_uri(ImageOps.grayscale(image)) for condition, image in images.items()}
    return activation(*result, grey, settings | {"picture": pair.names[0]})


def _written(result: "Result", context: "AnalysisContext", settings: dict) -> tuple[dict, list[str]]:
    """The samples alone, without a trigger too: no image is on screen."""
    from projlens_core.analyses.activation.written import written

    return written(result[0].by_role, context)


ANALYSIS = Analysis(
    key="activation",
    title="Activation",
    question="Where, and how far, does the trigger push the image?",
    summary="measure how far image tokens move along the drift direction",
    failure="This image cannot be analysed",
    floor="activations",
    needs_trigger=False,
    measure=_measure,
    present=_present,
    written=_written,
    json="every sample",
    csv="the table of figures",
    icon=":material/grid_on:",
    commands=("activations",),
)
