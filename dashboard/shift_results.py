"""What was computed about the shift of whole sets of images, kept by content: relations, spectra, rankings."""

from collections.abc import Iterator, Sequence

from dashboard import resources, results
from projlens_core.activations.direction import DirectionKind, shift_magnitude
from projlens_core.activations.ranking import Ranking, ranking
from projlens_core.activations.shift import IMAGES_AT_ONCE, embedding_shift
from projlens_core.activations.towers import Tokens, Towers
from projlens_core.analyses.activation import exhibit as activation
from projlens_core.analyses.activation.measure import SampleShift
from projlens_core.cases.case import OpenedCase
from projlens_core.inputs.images import NamedImage
from projlens_core.inputs.triggers import TriggerSpec
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress
from projlens_core.runtime.required import required
from projlens_core.stats.lines import NormAxis, NormShift

UNIVERSAL: DirectionKind = "universal"


def relations(
    case: OpenedCase,
    tower: Towers,
    spec: TriggerSpec | None,
    direction: DirectionKind,
    norm: NormAxis,
    samples: SampleShift,
) -> dict[str, dict[str, NormShift]]:
    """The samples' norm–shift relation under each projector, by role and condition."""
    key = content_key(results.reference_key(case, tower, spec, direction), norm)
    return resources.shelf("norm relations", 2 * resources.CASES).get(
        key, lambda: {role: activation.relations(analysis, norm) for role, analysis in samples.by_role.items()}
    )


def rankings(
    case: OpenedCase, tower: Towers, spec: TriggerSpec | None, images: Sequence[NamedImage], progress: Progress
) -> dict[str, dict[str, Ranking]]:
    """All `images` by shift along the samples' universal direction, by role and condition.

    Not along their own: images of unknown origin must not decide what they are compared with.
    """
    samples = required(results.sample_reference(case, tower, spec, UNIVERSAL, progress), "the samples")
    names = [image.name for image in images]

    def make() -> dict[str, dict[str, Ranking]]:
        found = {}
        for role, analysis in samples.by_role.items():
            axis = analysis.direction
            found[role] = {
                condition: ranking(
                    names,
                    (
                        shift_magnitude(embedding_shift(case.base, case.projectors[role], tokens)[0], axis)
                        for tokens in _tokens(tower, role, images, spec, condition, progress)
                    ),
                )
                for condition in (("clean",) if spec is None else ("clean", "triggered"))
            }
        return found

    key = content_key(results.reference_key(case, tower, spec, UNIVERSAL), *resources.named_keys(images))
    return resources.shelf("rankings", 8).get(key, make, progress)


def _tokens(
    tower: Towers,
    role: str,
    images: Sequence[NamedImage],
    spec: TriggerSpec | None,
    condition: str,
    progress: Progress,
) -> Iterator[Tokens]:
    """Tokens (c, T, d_vision) of the images, some at a time; a tower reads each image once, ever."""
    for start in range(0, len(images), IMAGES_AT_ONCE):
        some = images[start : start + IMAGES_AT_ONCE]
        if spec is None or condition == "clean":
            batch = [resources.clean_image(p, spec) for p in some]
        else:
            batch = [resources.triggered_image(p, spec) for p in some]
        yield tower.tokens([role], batch, progress)[role]
