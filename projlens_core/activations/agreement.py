"""Do weights and activations tell one story? What ΔW's strongest components can reach, against the measured drift.

ΔE = E_suspect − E_base is exactly what the changed weights make of an image. The weights alone say, without any image,
into which directions of embedding space they can write; if a drift direction lies in the span of a few of them, then
these few components of ΔW are where the drift comes from (paper: the drift lies in ΔW's low-rank subspace).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from projlens_core.activations.direction import Direction, ShiftSum, random_squared_cosines
from projlens_core.weights.delta import Delta
from projlens_core.weights.projector import as_module
from projlens_core.weights.spectrum import numerical_zero
from projlens_core.weights.triplets import leading

RANKS = 30  # components of each ΔW that are followed, as many as the paper's spectra show
SAMPLED_TOKENS = 256  # over which a Jacobian is averaged
TOGETHER = "all ΔW together"


@dataclass(frozen=True)
class Reach:
    """What the k strongest components of one ΔW, or of several, reach in embedding space, for k = 1 … K.

    The first sizes[k − 1] columns of axes (d, ·), orthonormal in float64, span what k components reach.
    """

    name: str  # the tensor's canonical name, or TOGETHER
    axes: torch.Tensor
    sizes: np.ndarray  # (K,) dimensions of the span


@dataclass(frozen=True)
class Agreement:
    """One reach against measured drift directions, for k = 1 … K components; angles in degrees.

    angles: the principal angle between each direction and the span, 0 (inside) to 90 (orthogonal). share: of all
    ‖ΔE‖², how much lies inside the span. Null: a direction drawn uniformly has a squared cosine with an m-dimensional
    span that is Beta(m/2, (d − m)/2) distributed; chance_angle is its median, and of all random directions 97.5 % lie
    at more than chance_low degrees. chance_share is m/d.
    """

    reach: Reach
    angles: dict[str, np.ndarray]  # by the direction's name, (K,) each
    share: np.ndarray
    chance_angle: np.ndarray
    chance_low: np.ndarray
    chance_share: np.ndarray


def reaches(delta: Delta, tokens: torch.Tensor, ranks: int = RANKS) -> tuple[Reach, ...]:
    """What the strongest components of each changed matrix reach, in running order, and last of all together.

    tokens (n, T, d_vision) are a few images', over which Jacobians are averaged; of them at most SAMPLED_TOKENS count.

    The last layer's ΔW writes into embedding space itself: it reaches the span of its left singular vectors uᵢ, and
    that is exact. An earlier layer's component changes what the suspect's later layers read; to first order it moves
    an embedding along J·uᵢ with J the Jacobian of these layers. For a two-layer projector J·u = W₂ˢ diag(φ′(z)) u,
    the second half of ΔE = ΔW₂ φ(z_base) + W₂ˢ (φ(z_suspect) − φ(z_base)) + Δb₂. Two things are lost on the way: the
    change is finite, and the gates φ′(z) differ from token to token while J here is their mean. A drift inside the
    span is thus explained by it; a drift outside of an earlier layer's span is not proof that this layer had no part.
    Biases and norms are in no reach. A matrix that did not change, or whose output is merged later on, has none.
    """
    steps = list(as_module(delta.suspect))
    layers = delta.suspect.family.layers
    found = []
    for index, layer in enumerate(layers):
        tensor = next((t for t in delta.matrices if t.name == f"{layer.name}.weight"), None)
        if layer.kind != "linear" or tensor is None or not tensor.changed:
            continue
        if any(later.kind == "merge" for later in layers[index + 1 :]):
            continue
        left = _left_vectors(tensor.delta, ranks)  # (out, K)
        first, rest = torch.nn.Sequential(*steps[: index + 1]), torch.nn.Sequential(*steps[index + 1 :])
        columns = _pushed(rest, first, left, tokens, layer.part == "last") if len(rest) else left
        found.append((tensor.name, columns.double()))
    alone = [_reach(name, [columns]) for name, columns in found]
    together = [_reach(TOGETHER, [columns for _, columns in found])] if len(found) > 1 else []
    return tuple(alone + together)


def agreement(reach: Reach, directions: Mapping[str, Direction], shift: ShiftSum, seed: int = 0) -> Agreement:
    """Compare drift directions, by name, and all of ΔE with what a ΔW reaches."""
    width = reach.axes.shape[0]
    angles = {}
    for name, direction in directions.items():
        unit = torch.nn.functional.normalize(direction.vector.double(), dim=0)  # float32's length errs by 0.01 degrees
        cosines = (reach.axes.T @ unit).numpy()
        angles[name] = _degrees(_summed(cosines**2)[reach.sizes])
    rng = np.random.default_rng(seed)
    # a small angle is a large cosine
    chance = [_degrees(np.quantile(random_squared_cosines(rng, m, width), (0.975, 0.5))) for m in reach.sizes]
    low, median = np.array(chance).T  # (K,) each
    return Agreement(
        reach=reach,
        angles=angles,
        share=np.minimum(_summed(shift.shares(reach.axes))[reach.sizes], 1.0),
        chance_angle=median,
        chance_low=low,
        chance_share=reach.sizes / width,
    )


def _summed(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2, … values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _degrees(squared_cosines: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.sqrt(np.clip(squared_cosines, 0.0, 1.0))))


def _left_vectors(matrix: torch.Tensor, ranks: int) -> torch.Tensor:
    """The left singular vectors (rows, K) of the strongest components, of which rounding makes none."""
    found = leading(matrix, min(ranks, *matrix.shape))
    return found.u[:, : int((found.values > numerical_zero(matrix.shape, float(found.values[0]))).sum())]


def _pushed(
    rest: torch.nn.Sequential, first: torch.nn.Sequential, vectors: torch.Tensor, tokens: torch.Tensor, last: bool
) -> torch.Tensor:
    """Mean over sampled tokens of the Jacobian of the layers `rest` times each column: (width, K) → (d, K).

    A layer that writes a part of the token writes its `last` numbers, or else its first.
    """
    with torch.no_grad():
        states = first(tokens.float()).flatten(0, -2)  # (tokens, width), what the changed layer puts out
    picked = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))[:SAMPLED_TOKENS]
    states = states[picked]
    # what a layer makes of its part of a token is not all that the next one reads
    room = states.shape[-1] - len(vectors)
    vectors = F.pad(vectors, (0, 0, room, 0) if last else (0, 0, 0, room))
    columns = []
    for vector in vectors.T:
        change = torch.func.jvp(rest, (states,), (vector.expand_as(states).contiguous(),))[1]
        columns.append(change.mean(dim=0))
    return torch.stack(columns, dim=1)


def _reach(name: str, layers: list[torch.Tensor]) -> Reach:
    """Orthonormal axes of the columns of all layers, taken rank by rank, a layer with fewer ranks running out first.

    Gram–Schmidt, twice (once leaves rounding behind), so that a column inside the span so far adds no axis.
    """
    axes = layers[0].new_zeros(layers[0].shape[0], 0)
    sizes = []
    for rank in range(max(columns.shape[1] for columns in layers)):
        for columns in layers:
            if rank >= columns.shape[1] or not (length := columns[:, rank].norm()):
                continue
            rest = columns[:, rank] / length
            for _ in range(2):
                rest = rest - axes @ (axes.T @ rest)
            if rest.norm() > 1e-6 and axes.shape[1] < axes.shape[0]:
                axes = torch.cat([axes, (rest / rest.norm())[:, None]], dim=1)
        sizes.append(axes.shape[1])
    return Reach(name, axes, np.array(sizes))
