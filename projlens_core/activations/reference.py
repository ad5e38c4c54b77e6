"""A matched reference: what base's projector would be had it been fine-tuned to the suspect's clean behaviour alone.

A copy of base's projector is fitted to the suspect's embeddings of clean image tokens. What an honest fine-tune does,
the copy can do too, on images that it was not fitted to as well; a backdoor that no clean image switches on leaves a
residual on images that do. No language model is run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from projlens_core.runtime import cache
from projlens_core.runtime.progress import Progress, silent
from projlens_core.weights.projector import ProjectorWeights, as_module, content_hash

# 150 steps leave the nursery's development members and the demo models as far apart as 300 do (docs/verdict.md); fewer
# at a higher rate do not: they raise single tokens of honest fine-tunes
STEPS, BATCH, RATE = 150, 512, 1e-3
KEPT = 2**29  # bytes of the suspect's embeddings that are computed once for all steps; more are at each step
CACHE = "references"
STAGE = "Fitting a matched reference"


@dataclass(frozen=True)
class MatchedReference:
    """A suspect's projector and the fitted copy of base's, on one device, without gradients of their own."""

    suspect: nn.Module
    fitted: nn.Module

    def residual(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, T): length of suspect's minus fitted embeddings of tokens (n, T_in, d_vision); gradients reach those."""
        return self.shift(tokens).norm(dim=-1)

    def shift(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, T, d): suspect's minus fitted embeddings of tokens (n, T_in, d_vision); gradients reach those."""
        return self.suspect(tokens) - self.fitted(tokens)

    def weights(self, base: ProjectorWeights) -> ProjectorWeights:
        """The fitted copy of `base` as a projector, to answer under."""
        tensors = {name: tensor.detach().cpu().float() for name, tensor in self.fitted.state_dict().items()}
        digest = content_hash(tensors | base.adjacent, base.settings)
        return replace(base, tensors=tensors, source="the matched reference", sha256=digest)


def matched_reference(
    base: ProjectorWeights,
    suspect: ProjectorWeights,
    tokens: torch.Tensor,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: Progress = silent,
    *,
    keep: bool = True,
) -> MatchedReference:
    """Fit a copy of `base` to `suspect` on clean tokens (n, T, d_vision), by mean squared error, with Adam.

    keep: look for the fit in the cache, by the content of all that decides it, and store it there. Unsupported for
    projectors that are not run.
    """
    target = as_module(suspect, device)
    fitted = as_module(base, device)
    for parameter in fitted.parameters():  # a module shares its weights' tensors
        parameter.data = parameter.data.clone()
    decided_by = base.sha256, suspect.sha256, tokens.numpy().tobytes(), STEPS, BATCH, RATE, seed
    key = cache.content_key(*decided_by) if keep else ""
    if keep and (kept := cache.stored(CACHE, key)) is not None:
        values = torch.frombuffer(bytearray(kept), dtype=torch.float32)
        nn.utils.vector_to_parameters(values.to(device), fitted.parameters())
        return MatchedReference(target, fitted)
    _fit(fitted, target, tokens, device, seed, progress)
    if keep:
        reached = nn.utils.parameters_to_vector(fitted.parameters()).detach().cpu().float().numpy()
        cache.store(CACHE, key, reached.tobytes())
    return MatchedReference(target, fitted)


def _fit(
    fitted: nn.Module,
    target: nn.Module,
    tokens: torch.Tensor,
    device: torch.device | str,
    seed: int,
    progress: Progress,
) -> None:
    """Bring `fitted` towards `target`: few steps, as a fit to the end would learn the backdoor, too."""
    # whole images, as projectors may merge or mix an image's tokens
    images = max(1, min(len(tokens), BATCH // tokens.shape[1]))
    wanted = _embeddings(target, tokens, images, device)
    fitted.requires_grad_(True)
    optimiser = torch.optim.Adam(fitted.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, STEPS)
    random = torch.Generator().manual_seed(seed)
    with _frozen(fitted):
        for step in range(STEPS):
            progress(STAGE, step, STEPS)
            drawn = torch.randperm(len(tokens), generator=random)[:images]
            part = tokens[drawn].to(device)
            loss = (fitted(part) - wanted(drawn)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


@torch.no_grad()
def _embeddings(
    target: nn.Module, tokens: torch.Tensor, images: int, device: torch.device | str
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Image numbers → target's embeddings of these, computed once for all images where they take up to KEPT bytes."""

    def computed(which: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return target(tokens[which].to(device))

    first = computed(torch.arange(1))
    if len(tokens) * first.numel() * first.element_size() > KEPT:
        return computed
    everything = torch.cat([computed(part) for part in torch.arange(len(tokens)).split(images)])
    return lambda which: everything[which.to(everything.device)]


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """The module has no gradients after the block, however that ends."""
    try:
        yield
    finally:
        for parameter in module.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
