"""Hidden units of a projector: how strongly and how often each is active, on clean and on triggered images.

A hidden unit is one output of the projector's activation function, read at every token. The paper finds that clean
and triggered distributions of these figures coincide: a projector backdoor has no neurons of its own.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import nn

from projlens_core.activations.shift import check_width
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.progress import Progress, silent
from projlens_core.stats.split_null import (
    Count,
    Distance,
    SplitTest,
    counted,
    distance,
    resampled_means,
    split_test,
)
from projlens_core.weights.projector import ProjectorWeights, as_module

QUIET = 0.2  # of the units, those with the least magnitude on clean images (paper: bottom 20 %)
SWITCHED_ON = 2.0  # times its magnitude on clean images
IMAGES_AT_ONCE = 4
HIDDEN = ("activation", "swiglu")  # kinds of layers whose outputs are hidden units
RankedBy = Literal["difference", "ratio", "quiescent-active", "change", "patch"]


@dataclass(frozen=True)
class Activity:
    """One condition's images under one projector, m hidden units."""

    magnitudes: np.ndarray  # (n, m) float32: mean |a| over an image's tokens
    frequency: np.ndarray  # (m,) share of all tokens at which a > 0

    @property
    def magnitude(self) -> np.ndarray:
        """Mean |a| of each unit over images and tokens: (m,) float64."""
        return self.magnitudes.mean(axis=0, dtype=np.float64)


@dataclass(frozen=True)
class Units:
    """What the hidden units of one projector do on n images and on their triggered twins.

    change is the mean of |a_triggered − a_clean| over twins and tokens (trigger-activated change), swap the same
    between each clean image and another clean one: what changing the whole image does. NaN for a single image.
    patch and patch_swap are the same of each image's most changed token instead of the mean of all: a trigger that is
    a small patch changes few tokens, and a mean hardly shows it.
    """

    clean: Activity
    triggered: Activity
    change: np.ndarray  # (m,)
    swap: np.ndarray  # (m,)
    patch: np.ndarray  # (m,)
    patch_swap: np.ndarray  # (m,)

    @property
    def difference(self) -> np.ndarray:
        """Mean magnitude, triggered − clean: (m,)."""
        return self.triggered.magnitude - self.clean.magnitude

    @property
    def ratio(self) -> np.ndarray:
        """Mean magnitude, triggered / clean: (m,). Infinite for a unit silent on clean images only, NaN on both."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.triggered.magnitude / self.clean.magnitude

    @property
    def quiet(self) -> np.ndarray:
        """Which units are among the QUIET share with the least magnitude on clean images: (m,) bool."""
        chosen = np.zeros(len(self.change), bool)
        chosen[np.argsort(self.clean.magnitude, kind="stable")[: round(QUIET * len(chosen))]] = True
        return chosen

    def ranking(self, by: RankedBy) -> np.ndarray:
        """Unit numbers, the most telling first; quiescent-active holds the quiet units only.

        "difference": largest |difference|; "ratio": largest ratio, undefined ones last; "quiescent-active": of the
        quiet units the most active on triggered images; "change": largest change; "patch": largest change of a token.
        """
        if by == "quiescent-active":
            quiet = self.quiet.nonzero()[0]
            return quiet[np.argsort(-self.triggered.magnitude[quiet], kind="stable")]
        scores = {
            "difference": np.abs(self.difference),
            "ratio": self.ratio,
            "change": self.change,
            "patch": self.patch,
        }
        return np.argsort(-scores[by], kind="stable")  # NaN sorts last


@dataclass(frozen=True)
class NeuronFinding:
    """One projector's units, judged by the clean–clean split.

    response: how the trigger moves magnitudes. gain: how it moves what the projector has over base, so that what a
    trigger does to any projector cancels; None for base itself. switches: (m,) bool, quiet units that the trigger
    raises beyond chance and at least SWITCHED_ON-fold, as a dedicated trigger neuron would be; switched_on counts
    them. distance: between the distributions of magnitudes. Both are None with too few images.
    """

    units: Units
    response: SplitTest
    gain: SplitTest | None
    switches: np.ndarray
    switched_on: Count | None
    distance: Distance | None


def hidden_layers(projector: ProjectorWeights) -> nn.Sequential:
    """The projector's layers up to its last activation function: (…, d_in) → (…, m). Unsupported if it has none."""
    layers = projector.family.layers
    last = max((i for i, layer in enumerate(layers) if layer.kind in HIDDEN), default=None)
    if last is None:
        raise Unsupported(
            f"A projector of {projector.family.title} has no layer of hidden units behind an activation function; "
            "look at its embeddings on the Activation page."
        )
    return nn.Sequential(OrderedDict(list(as_module(projector).named_children())[: last + 1]))


def _of_role(progress: Progress, role: str, stage: str, done: int, total: int) -> None:
    progress(f"{stage}, {role}", done, total)


def observe(
    projector: ProjectorWeights, clean: torch.Tensor, triggered: torch.Tensor, progress: Progress = silent
) -> Units:
    """Watch a projector's hidden units while it reads n images and their twins, tokens (n, T, d_vision) each.

    Activations are streamed: what stays in memory is two numbers an image and unit, whatever T is. InvalidInput if
    the twins do not match, or if the projector reads tokens of another width; Unsupported as `hidden_layers`.
    """
    if clean.shape != triggered.shape or clean.dim() != 3 or 0 in clean.shape:
        raise InvalidInput(
            f"Clean and triggered tokens must both be (images, tokens, d_vision); found {tuple(clean.shape)} and "
            f"{tuple(triggered.shape)}."
        )
    module, n = hidden_layers(projector), len(clean)
    check_width(projector, clean)
    watched: dict[str, list[torch.Tensor]] = {"clean": [], "triggered": []}
    zero = torch.zeros((), dtype=torch.float64)
    firing = {"clean": zero, "triggered": zero}
    changes = dict.fromkeys(("change", "swap", "patch", "patch_swap"), zero)
    with torch.no_grad():
        for start in range(0, n, IMAGES_AT_ONCE):
            progress("Watching hidden units", start, n)
            index = torch.arange(start, min(start + IMAGES_AT_ONCE, n))
            hidden = {"clean": _run(module, clean[index]), "triggered": _run(module, triggered[index])}
            other = torch.cat((_run(module, clean[index[:1] - 1]), hidden["clean"][:-1]))  # -1: the last image
            for condition, a in hidden.items():  # (chunk, T, m)
                watched[condition].append(a.abs().mean(dim=1))
                firing[condition] = firing[condition] + (a > 0).float().mean(dim=1).double().sum(dim=0)
            for names, against in ((("change", "patch"), hidden["triggered"]), (("swap", "patch_swap"), other)):
                apart = (against - hidden["clean"]).abs()  # (chunk, T, m)
                for name, each in zip(names, (apart.mean(dim=1), apart.amax(dim=1)), strict=True):
                    changes[name] = changes[name] + each.double().sum(dim=0)
    progress("Watching hidden units", n, n)
    seen = {c: Activity(torch.cat(watched[c]).numpy(), (firing[c] / n).numpy()) for c in watched}
    if n == 1:  # no other image to put in its place
        changes |= {name: changes[name] * np.nan for name in ("swap", "patch_swap")}
    return Units(seen["clean"], seen["triggered"], **{name: (each / n).numpy() for name, each in changes.items()})


def analyse(
    projectors: Mapping[str, ProjectorWeights],
    clean: torch.Tensor | Mapping[str, torch.Tensor],
    triggered: torch.Tensor | Mapping[str, torch.Tensor],
    progress: Progress = silent,
    seed: int = 0,
) -> dict[str, NeuronFinding]:
    """Judge the hidden units of "base" and of every other projector, by role; errors as `observe`.

    clean and triggered are tokens (n, T, d_vision) that all of them read, or by role where each reads its own.
    """
    seen = {}
    for role, weights in projectors.items():
        read = [tokens if isinstance(tokens, torch.Tensor) else tokens[role] for tokens in (clean, triggered)]
        seen[role] = observe(weights, read[0], read[1], partial(_of_role, progress, role))
    findings = {}
    for done, (role, units) in enumerate(seen.items()):
        progress("Splitting the clean images", done, len(seen))
        findings[role] = _judged(units, None if role == "base" else seen["base"], seed)
    progress("Splitting the clean images", len(seen), len(seen))
    return findings


def _judged(units: Units, base: Units | None, seed: int) -> NeuronFinding:
    clean, triggered = units.clean.magnitudes, units.triggered.magnitudes
    response = split_test(clean, triggered, seed)
    gain = None
    if base is not None:
        gain = split_test(clean - base.clean.magnitudes, triggered - base.triggered.magnitudes, seed)
    surplus = triggered - SWITCHED_ON * clean  # ≥ 0 in the mean where a unit grows enough; resampled in one go
    switches = units.quiet & (response.beyond > 0) & (surplus.mean(axis=0) >= 0)
    again = units.quiet & (response.resampled > 0) & (resampled_means(surplus, seed) >= 0)
    return NeuronFinding(
        units=units,
        response=response,
        gain=gain,
        switches=switches,
        switched_on=None if response.note else counted(switches, again, int(units.quiet.sum())),
        distance=distance(clean, triggered, seed),
    )


def _run(module: nn.Sequential, tokens: torch.Tensor) -> torch.Tensor:
    """Hidden activations (k, T, m) of k images."""
    return module(tokens.float())
