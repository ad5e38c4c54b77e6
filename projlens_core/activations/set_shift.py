"""A whole set of images under one projector: spectra, directions, ranking, norm–shift fits and what the weights reach.

Images come as chunks of tokens, twice: once to find the drift direction, once to measure along it. Memory holds one
chunk, two d × d sums, and for each image its drift direction, its singular values and two numbers a token.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch

from projlens_core.activations.agreement import Agreement, agreement, reaches
from projlens_core.activations.direction import Direction, ShiftSum, drift_direction, shift_magnitude
from projlens_core.activations.embedding_spectrum import EmbeddingSpectrum, embedding_spectrum, own_cosines
from projlens_core.activations.ranking import Ranking, ranking
from projlens_core.activations.shift import embedding_shift, token_norms
from projlens_core.activations.towers import Tokens, read_by_base, read_by_other
from projlens_core.runtime.progress import Progress, silent
from projlens_core.stats.lines import NormAxis, NormShift, norm_shift
from projlens_core.weights.delta import Delta

STAGE = "Taking the embedding shift apart"
JACOBIAN_IMAGES = 4  # of each condition, whose tokens stand for all where weights are pushed through a layer

Chunks = Callable[[], Iterable[Tokens]]  # tokens (c, T, d_vision), chunk by chunk; called once for each pass


@dataclass(frozen=True)
class SetCondition:
    """The images of one condition, clean or triggered."""

    spectrum: EmbeddingSpectrum
    direction: Direction  # this condition's own drift direction
    cosines: np.ndarray  # (n,) |cos| between each image's own drift direction and the universal one
    ranking: Ranking  # by the shift along the universal direction
    relation: NormShift  # of the signed shift along the universal direction to the norm


@dataclass(frozen=True)
class SetShift:
    """One projector against base over a set of images."""

    direction: Direction  # universal: of all images, clean and triggered
    conditions: dict[str, SetCondition]  # "clean" and, if there are twins, "triggered"
    agreements: tuple[Agreement, ...]  # one for each reach, the last for all ΔW together
    norm: NormAxis


def set_shift(
    delta: Delta,
    names: Sequence[str],
    chunks: dict[str, Chunks],
    norm: NormAxis = "output",
    progress: Progress = silent,
) -> SetShift:
    """Analyse the images called `names`; chunks holds the tokens of each condition, the images in that order.

    Raises InvalidInput if a projector moves nothing at all, or an image has another number of tokens than the others.
    """
    steps = 2 * len(names) * len(chunks)
    done = 0

    def shifts(condition: str) -> Iterator[tuple[Tokens, torch.Tensor, torch.Tensor]]:
        """(tokens, ΔE, E_base) chunk by chunk, counted."""
        nonlocal done
        for tokens in chunks[condition]():
            progress(STAGE, done, steps)
            yield tokens, *embedding_shift(delta.base, delta.suspect, tokens)
            done += len(tokens)

    own: dict[str, list[Direction]] = {condition: [] for condition in chunks}
    sums = {condition: ShiftSum(delta.suspect.d_out) for condition in chunks}
    few = []
    for condition in chunks:
        for tokens, delta_e, _ in shifts(condition):
            if not own[condition]:
                few.append(read_by_other(tokens[:JACOBIAN_IMAGES]))
            own[condition] += [drift_direction(image, "image") for image in delta_e]
            sums[condition].add(delta_e)
    everything = reduce(add, sums.values())
    universal = everything.direction("universal")

    conditions = {}
    for condition in chunks:
        measured, norms = [], []
        for tokens, delta_e, base_e in shifts(condition):
            measured.append(shift_magnitude(delta_e, universal))  # (c, T)
            read = token_norms(read_by_base(tokens), delta_e.shape[1], delta.base.family.pools)
            norms.append(base_e.norm(dim=-1) if norm == "output" else read)
        shift, sizes = torch.cat(measured), torch.cat(norms)  # (n, T) each
        spectrum = embedding_spectrum(own[condition])
        conditions[condition] = SetCondition(
            spectrum=spectrum,
            direction=sums[condition].direction(),
            cosines=own_cosines(spectrum, universal),
            ranking=ranking(names, [shift]),
            relation=norm_shift(sizes, shift),
        )
    progress(STAGE, steps, steps)
    directions = {"all": universal} | {name: found.direction for name, found in conditions.items()}
    found = tuple(agreement(reach, directions, everything) for reach in reaches(delta, torch.cat(few)))
    return SetShift(universal, conditions, found, norm)
