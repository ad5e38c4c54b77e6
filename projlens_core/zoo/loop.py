"""One training loop for all that the zoo trains: seeded, resumable, with progress."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from projlens_core.errors import Shortage
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.shortage import WORKER_ENDED

SAVE_INTERVAL = 60.0  # seconds
STATE = "state.pt"


@dataclass(frozen=True)
class Plan:
    """AdamW with a short linear warm-up to `rate` and a cosine to zero, over `steps` batches of `batch` samples."""

    steps: int
    batch: int
    rate: float
    warm_up: float = 0.1  # share of the steps
    weight_decay: float = 0.0
    beta2: float = 0.999


def fit(
    module: nn.Module,
    data: Dataset,
    loss: Callable[[Any], torch.Tensor],
    plan: Plan,
    folder: Path,
    stage: str,
    workers: int = 2,
    collate: Callable | None = None,
    progress: Progress = silent,
) -> None:
    """Train `module` in place by `loss` of one batch after another; sample i of `data` is always the same.

    The state is saved to `folder` every minute and at the end, atomically, and taken up again: an interrupted run
    that is started once more ends as one that was never interrupted.
    """
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=plan.rate, betas=(0.9, plan.beta2), weight_decay=plan.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, plan.steps + 1, pct_start=plan.warm_up, cycle_momentum=False
    )
    parts = {"module": module, "optimiser": optimiser, "schedule": schedule}
    start = _restore(folder, parts)
    rest = Subset(data, range(start * plan.batch, plan.steps * plan.batch))
    batches = DataLoader(
        rest, plan.batch, num_workers=workers, collate_fn=collate, prefetch_factor=4 if workers else None
    )
    saved_at = time.monotonic()
    for step, batch in enumerate(_drawn(batches), start):
        progress(stage, step, plan.steps)
        optimiser.zero_grad(set_to_none=True)
        loss(batch).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if time.monotonic() - saved_at > SAVE_INTERVAL or step + 1 == plan.steps:
            _save(folder, parts, step + 1)
            saved_at = time.monotonic()
    progress(stage, plan.steps, plan.steps)


def _drawn(batches: DataLoader) -> Iterator[Any]:
    """The batches; Shortage where a worker was killed and its connection is what is noticed first."""
    try:
        yield from batches
    except (ConnectionError, EOFError) as error:
        raise Shortage(WORKER_ENDED) from error


def _restore(folder: Path, parts: dict[str, Any]) -> int:
    """Load what was saved, if anything; the number of finished steps."""
    path = folder / STATE
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]


def _save(folder: Path, parts: dict[str, Any], step: int) -> None:
    """A crash in the middle leaves the former state in place."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{STATE}.partial"
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, partial)
    partial.replace(folder / STATE)
