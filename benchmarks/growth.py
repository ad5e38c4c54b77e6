"""How cost grows with images, tokens, rank and hidden size, beside the floor that the machine itself sets.

Floor of a time: the operations that the job cannot do without at the rate of this machine's matrix product, or the
bytes that it must read at the rate at which memory is copied, whichever takes longer. Floor of memory: the arrays that
the job is given and gives back.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.worker import peak_memory, reset_peak, resident_memory
from projlens_core.activations.model import load_vision
from projlens_core.activations.shift import embeddings
from projlens_core.cases.case import read_projectors
from projlens_core.runtime import allocator
from projlens_core.weights.noise import noise_edge
from projlens_core.weights.projector import ProjectorWeights, read_projector
from projlens_core.weights.spectrum import spectrum
from projlens_core.weights.triplets import leading

RESOLUTION = 320  # px, of the zoo's images
AT_ONCE = 16  # images
D_VISION, D = 1024, 4096  # LLaVA-1.5-7B
IMAGES, TOKENS, RANK, SIZE = "images (zoo)", "tokens (7B projectors)", "rank k (d = 4096)", "hidden size d of ΔW"
SIZES = {
    IMAGES: ((4, 8), (16, 32, 64, 128)),
    TOKENS: ((16, 32), (144, 576, 2304, 9216)),
    RANK: ((4, 8), (8, 16, 32, 64, 128)),
    SIZE: ((64, 128), (768, 1024, 1536, 2048, 3072)),
}


@dataclass(frozen=True)
class Point:
    """One size of one job: seconds, and the most bytes held beyond those before its inputs, each with its floor."""

    axis: str
    size: int
    seconds: float
    floor_seconds: float
    memory: int
    floor_memory: int


@dataclass(frozen=True)
class Rates:
    """What the machine can do at best: operations a second, by dtype, and bytes a second."""

    single: float
    double: float
    copied: float


def measure(quick: bool = False) -> dict:
    """All points and the machine's rates, ready for JSON."""
    rates = _rates(256 if quick else 2048)
    jobs = {IMAGES: _images, TOKENS: _tokens, RANK: partial(_rank, side=1024 if quick else D), SIZE: _size}
    points = []
    allocator.give_back_large()
    for axis, job in jobs.items():
        work = None  # what the job before was given must not count as there already
        allocator.give_back_spare()
        before = resident_memory("self")
        work = job(rates)
        work(SIZES[axis][0][0])  # the first call of a kind loads libraries
        for size in SIZES[axis][0 if quick else 1]:
            points.append(Point(axis, size, *_measured(work, size, before)))
    return {"rates": asdict(rates), "points": [asdict(point) for point in points]}


Floors = tuple[float, int]  # seconds, bytes
Work = Callable[[int], Floors]


def _measured(work: Work, size: int, before: int) -> tuple[float, float, int, int]:
    allocator.give_back_spare()
    reset_peak()
    start = time.perf_counter()
    floor_seconds, floor_memory = work(size)
    seconds = time.perf_counter() - start
    return seconds, floor_seconds, max(0, peak_memory() - before), floor_memory


def _rates(side: int) -> Rates:
    def best(operations: float, call: Callable[[], object]) -> float:
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return operations / min(seconds)

    single = torch.randn(side, side)
    double, target = single.double(), torch.empty_like(single)
    return Rates(
        best(2 * side**3, lambda: single @ single),
        best(2 * side**3, lambda: double @ double),
        best(2 * single.nbytes, lambda: target.copy_(single)),
    )


def _images(rates: Rates) -> Work:
    """Tower and both projectors over images of noise, some at a time; what they show does not change the cost."""
    base, suspect = read_projectors(["zoo:base", "zoo:targeted-refusal"])
    tower = load_vision("zoo:base", "cpu")
    noise = np.random.default_rng(0)
    weights = sum(parameter.numel() for parameter in tower.tower.parameters()) + 2 * base.parameters

    def work(count: int) -> Floors:
        for begin in range(0, count, AT_ONCE):
            few = noise.integers(0, 256, (min(AT_ONCE, count - begin), RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
            tokens = tower.encode([Image.fromarray(each) for each in few])
            embeddings(suspect, tokens) - embeddings(base, tokens)
        return 2 * weights * tower.tokens * count / rates.single, 4 * weights

    return work


def _tokens(rates: Rates) -> Work:
    """ΔE of so many tokens under two projectors of LLaVA-1.5-7B's shape."""
    base, suspect = _projectors()

    def work(count: int) -> Floors:
        tokens = torch.ones(1, count, D_VISION)
        embeddings(suspect, tokens) - embeddings(base, tokens)
        return 2 * 2 * base.parameters * count / rates.single, 4 * (2 * base.parameters + count * (D_VISION + D))

    return work


def _projectors() -> Iterator[ProjectorWeights]:
    from safetensors.torch import save_file  # only here: it is the inputs' business, not the job's

    with tempfile.TemporaryDirectory(prefix="projlens-bench-") as folder:
        for seed in range(2):
            torch.manual_seed(seed)
            tensors = {"linear_1.weight": torch.randn(D, D_VISION), "linear_2.weight": torch.randn(D, D)}
            tensors |= {"linear_1.bias": torch.zeros(D), "linear_2.bias": torch.zeros(D)}
            file = Path(folder) / f"{seed}.safetensors"
            save_file({f"multi_modal_projector.{name}": 0.02 * values for name, values in tensors.items()}, file)
            yield read_projector(file)


def _rank(rates: Rates, side: int) -> Work:
    """k leading triplets of one matrix. Floor: to multiply it once with k vectors on either side."""
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(side, 5))[0] for _ in range(2))
    matrix = left @ right.T + 2e-4 * torch.randn(side, side)

    def work(k: int) -> Floors:
        leading(matrix, k)
        seconds = max(4 * side**2 * k / rates.single, 2 * matrix.nbytes / rates.copied)
        return seconds, 4 * (side**2 + 2 * side * k)

    return work


def _size(rates: Rates) -> Work:
    """All singular values and the noise edge of a d × d matrix. Floor: its Gram matrix, and that made tridiagonal."""

    def work(side: int) -> Floors:
        matrix = torch.randn(side, side, generator=torch.Generator().manual_seed(0))
        noise_edge(matrix, known=spectrum(matrix))
        return (1 + 4 / 3) * side**3 / rates.double, (4 + 8) * side**2

    return work
