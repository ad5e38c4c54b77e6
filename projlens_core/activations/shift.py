"""The embedding shift ΔE of a set of images between base and suspect, and everything the paper reads from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from projlens_core.activations.direction import (
    Direction,
    DirectionKind,
    along,
    direction_cosine,
    drift_direction,
)
from projlens_core.activations.towers import Tokens, read_by_base, read_by_other
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.stats.auroc import Separation, separation
from projlens_core.stats.lines import NormAxis, NormShiftFit, norm_shift_fit
from projlens_core.weights.projector import ProjectorWeights, as_module

IMAGES_AT_ONCE = 32
NULL_DRAWS = 200


@dataclass(frozen=True)
class Condition:
    """One set of images, clean or triggered, as base and suspect embed it. Embedding units throughout."""

    delta_e: torch.Tensor  # (n, T, d) E_suspect − E_base
    base_norms: torch.Tensor  # (n, T) ‖E_base‖₂, the norm of the projector's output
    input_norms: torch.Tensor  # (n, T) ‖h‖₂ of what the projector read for that output
    shift: torch.Tensor  # (n, T) signed, along the direction of the analysis
    sample_mean: torch.Tensor  # (n,) mean shift over an image's tokens
    sample_max: torch.Tensor  # (n,) largest signed shift of an image's tokens
    direction: Direction  # this set's own drift direction
    fit: NormShiftFit  # shift against base_norms

    def norms(self, axis: NormAxis) -> torch.Tensor:
        """The norms (n, T) that shifts are compared with: of the projector's input or of base's output."""
        return self.input_norms if axis == "input" else self.base_norms


@dataclass(frozen=True)
class Contrast:
    """The fourfold contrast (suspect − base) × (triggered − clean), per image pair, beside what base itself does.

    A trigger changes the embeddings of any projector; a backdoor changes them more in the suspect than in base.
    """

    projection: torch.Tensor  # (n,) mean over tokens of (ΔE_triggered − ΔE_clean)·v
    norm: torch.Tensor  # (n,) mean over tokens of ‖ΔE_triggered − ΔE_clean‖₂
    base_projection: torch.Tensor  # (n,) the same of E_base: (E_triggered − E_clean)·v
    base_norm: torch.Tensor  # (n,)


@dataclass(frozen=True)
class ShiftNull:
    """Mean |ΔE·g| over all tokens along random directions g: what a direction without meaning would show.

    The embedding shifts stay as they are, so their norms are matched; only the direction is drawn, uniformly.
    """

    observed: float  # mean |ΔE·v| over the same tokens, along the direction of the analysis
    mean: float  # over the draws
    high: float  # 97.5 % of the draws lie below
    draws: int


class Paired(NamedTuple):
    """What is known of triggered twins besides their clean images: see ShiftAnalysis."""

    triggered: Condition
    direction_cosine: float
    separation: Separation
    contrast: Contrast


@dataclass(frozen=True)
class ShiftAnalysis:
    """The embedding shift of clean images and, if given, of their triggered twins, along one direction or several."""

    directions: tuple[Direction, ...]  # the ones used: one for all images, or one per image
    clean: Condition
    triggered: Condition | None
    direction_cosine: float | None  # between the two conditions' own drift directions
    separation: Separation | None  # of the mean shift per image, triggered against clean
    null: ShiftNull
    contrast: Contrast | None

    @property
    def paired(self) -> Paired | None:
        """What there is of triggered twins alone; None without them."""
        if self.triggered is None or self.direction_cosine is None or self.separation is None or self.contrast is None:
            return None
        return Paired(self.triggered, self.direction_cosine, self.separation, self.contrast)

    @property
    def direction(self) -> Direction:
        """The direction used; the first image's, if each image has its own."""
        return self.directions[0]

    @property
    def conditions(self) -> dict[str, Condition]:
        """The conditions there are, "clean" first."""
        both = {"clean": self.clean, "triggered": self.triggered}
        return {name: condition for name, condition in both.items() if condition is not None}


def check_width(projector: ProjectorWeights, tokens: torch.Tensor) -> None:
    """InvalidInput unless the projector reads vision-tower tokens (…, d_vision) of this width."""
    if tokens.shape[-1] != projector.d_token:
        raise InvalidInput(
            f"The vision tower's tokens are {tokens.shape[-1]} wide, but {projector.source} reads {projector.d_token}; "
            "give the tower this projector was trained with."
        )


def embeddings(projector: ProjectorWeights, tokens: torch.Tensor) -> torch.Tensor:
    """Image embeddings in float32 that the projector makes of vision-tower tokens: (n, T, d_vision) → (n, T, d).

    Raises InvalidInput as check_width.
    """
    check_width(projector, tokens)
    module = as_module(projector)
    with torch.no_grad():
        return torch.cat([module(chunk) for chunk in tokens.float().split(IMAGES_AT_ONCE)])


def embedding_shift(
    base: ProjectorWeights, suspect: ProjectorWeights, tokens: Tokens
) -> tuple[torch.Tensor, torch.Tensor]:
    """ΔE and E_base, (n, T, d) each, of tokens (n, T, d_vision)."""
    base_e = embeddings(base, read_by_base(tokens))
    return _difference(suspect, tokens, base_e), base_e


def _difference(suspect: ProjectorWeights, tokens: Tokens, base_e: torch.Tensor) -> torch.Tensor:
    """ΔE: what the suspect makes of its tokens, less what base made of its own. Unsupported for other shapes."""
    own = embeddings(suspect, read_by_other(tokens))
    if own.shape != base_e.shape:
        raise Unsupported(
            f"Base makes embeddings of shape {tuple(base_e.shape[1:])} of an image and {suspect.source} of shape "
            f"{tuple(own.shape[1:])}, which have no places in common that could be compared."
        )
    return own - base_e


def token_norms(tokens: torch.Tensor, outputs: int, pools: bool = False) -> torch.Tensor:
    """‖h‖₂ of what the projector reads for each of its `outputs` embeddings of an image: (n, T, d_vision) → (n, T').

    A projector that merges m neighbouring tokens into one reads all m at once, so their numbers count together, and so
    do those of all tokens where learned queries read the whole image (pools).
    """
    if pools:
        return tokens.float().flatten(1).norm(dim=-1, keepdim=True).expand(-1, outputs)
    return tokens.float().reshape(len(tokens), outputs, -1).norm(dim=-1)


def analyse(
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    clean_tokens: Tokens,
    triggered_tokens: Tokens | None = None,
    direction: DirectionKind | torch.Tensor | Direction | Sequence[Direction] = "universal",
    base_e: Sequence[torch.Tensor] | None = None,
) -> ShiftAnalysis:
    """Analyse n images' tokens (n, T, d_vision) and, optionally, those of their triggered twins, in the same order.

    Where the two have towers of their own, each projector reads its own tokens, and norms of what is read are base's.
    base_e: the embeddings that base makes of each, where they are at hand.

    direction chooses what shifts are projected on:
    - "universal": one drift direction of all ΔE in the set, clean and triggered stacked;
    - "image": each image's own, from its clean ΔE alone;
    - "pair": each pair's own, from its clean and triggered ΔE stacked;
    - a vector (d,), a Direction, or one Direction per image from another analysis (the control along the suspect's).

    Raises InvalidInput if the twins do not match, "pair" is asked without twins, or there is no shift at all.
    """
    sets = [clean_tokens] if triggered_tokens is None else [clean_tokens, triggered_tokens]
    shapes = [tuple(read_by_other(tokens).shape) for tokens in sets]
    if any(len(shape) != 3 or shape != shapes[0] or 0 in shape for shape in shapes):
        found = " and ".join(map(str, shapes))
        raise InvalidInput(f"Clean and triggered tokens must both be (images, tokens, d_vision); found {found}.")
    if base.d_out != suspect.d_out:
        raise InvalidInput(
            f"{base.source} makes embeddings {base.d_out} wide and {suspect.source} {suspect.d_out}; "
            "only projectors of one shape can be compared."
        )
    base_e = list(base_e or (embeddings(base, read_by_base(tokens)) for tokens in sets))
    delta_e = [_difference(suspect, tokens, e) for tokens, e in zip(sets, base_e, strict=True)]
    directions = _directions(direction, delta_e)
    shifts = [_project(d, directions) for d in delta_e]
    seen = [read_by_base(tokens) for tokens in sets]
    read = [token_norms(tokens, e.shape[1], base.family.pools) for tokens, e in zip(seen, base_e, strict=True)]
    conditions = [_condition(*parts) for parts in zip(read, delta_e, base_e, shifts, strict=True)]
    null = _null(delta_e, shifts)
    if triggered_tokens is None:
        return ShiftAnalysis(directions, conditions[0], None, None, None, null, None)
    clean, triggered = conditions
    return ShiftAnalysis(
        directions=directions,
        clean=clean,
        triggered=triggered,
        direction_cosine=direction_cosine(clean.direction, triggered.direction),
        separation=separation(clean.sample_mean, triggered.sample_mean),
        null=null,
        contrast=_contrast(base_e, delta_e, directions),
    )


def _directions(
    choice: DirectionKind | torch.Tensor | Direction | Sequence[Direction], delta_e: list[torch.Tensor]
) -> tuple[Direction, ...]:
    """One direction for all images, or one for each."""
    images = len(delta_e[0])
    if isinstance(choice, torch.Tensor):
        return (along(choice, torch.cat(delta_e)),)
    if isinstance(choice, Direction):
        return (along(choice.vector, torch.cat(delta_e)),)
    if not isinstance(choice, str):
        if len(choice) not in (1, images):
            raise InvalidInput(f"{len(choice)} directions were given for {images} images; give one, or one per image.")
        stacks = [torch.cat(delta_e)] if len(choice) == 1 else _pairs(delta_e)
        return tuple(along(given.vector, stack) for given, stack in zip(choice, stacks, strict=True))
    match choice:
        case "universal":
            return (drift_direction(torch.cat(delta_e), "universal"),)
        case "image":
            return tuple(drift_direction(image, "image") for image in delta_e[0])
        case "pair" if len(delta_e) == 2:
            return tuple(drift_direction(pair, "pair") for pair in _pairs(delta_e))
        case "pair":
            raise InvalidInput("The direction of a pair needs triggered twins; choose universal or image without them.")
    raise InvalidInput(f"There is no direction {choice!r}; choose universal, image or pair.")


def _pairs(delta_e: list[torch.Tensor]) -> list[torch.Tensor]:
    """All ΔE of each image, its clean and triggered tokens stacked: n × (T or 2T, d)."""
    return list(torch.cat(delta_e, dim=1))


def _project(vectors: torch.Tensor, directions: tuple[Direction, ...]) -> torch.Tensor:
    """Projections (n, T) of (n, T, d) on the direction shared by all images or on each image's own."""
    axes = torch.stack([d.vector for d in directions])  # (1 or n, d)
    return torch.einsum("ntd,nd->nt", vectors, axes.expand(len(vectors), -1))


def _condition(read: torch.Tensor, delta_e: torch.Tensor, base_e: torch.Tensor, shift: torch.Tensor) -> Condition:
    norms = base_e.norm(dim=-1)
    return Condition(
        delta_e=delta_e,
        base_norms=norms,
        input_norms=read,
        shift=shift,
        sample_mean=shift.mean(dim=1),
        sample_max=shift.amax(dim=1),
        direction=drift_direction(delta_e),
        fit=norm_shift_fit(norms, shift),
    )


def _null(delta_e: list[torch.Tensor], shifts: list[torch.Tensor]) -> ShiftNull:
    """Seeded, so that the same case shows the same null."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.randn(delta_e[0].shape[-1], NULL_DRAWS, generator=generator)  # (d, draws)
    axes /= axes.norm(dim=0)
    per_draw = torch.stack([(image @ axes).abs().mean(dim=0) for d in delta_e for image in d]).mean(dim=0)  # (draws,)
    observed = torch.cat(shifts).abs().mean()
    return ShiftNull(float(observed), float(per_draw.mean()), float(per_draw.quantile(0.975)), NULL_DRAWS)


def _contrast(base_e: list[torch.Tensor], delta_e: list[torch.Tensor], directions: tuple[Direction, ...]) -> Contrast:
    gained, before = delta_e[1] - delta_e[0], base_e[1] - base_e[0]  # (n, T, d) each
    return Contrast(
        projection=_project(gained, directions).mean(dim=1),
        norm=gained.norm(dim=-1).mean(dim=1),
        base_projection=_project(before, directions).mean(dim=1),
        base_norm=before.norm(dim=-1).mean(dim=1),
    )
