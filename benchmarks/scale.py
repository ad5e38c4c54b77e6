"""`python -m benchmarks.scale`: the figures in docs/scale.md, from what `benchmarks.screening` measured."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from projlens_core.runtime.markdown import renew, table
from projlens_core.runtime.paths import ASSETS, DOCS

DOCUMENT = DOCS / "scale.md"
MEASURED = Path(__file__).with_name("screening.json")
BEGIN = "<!-- figures: written by `python -m benchmarks.screening` -->"
END = "<!-- end of figures -->"
MILLION = 10**6
QUALITY = ("AUROC", "precision")  # lines of a summary that say how right it is
RESULTS = Path(__file__).with_name("results.json")  # of `make bench`: there base and suspect are of 7B shapes


def figures(measured: dict) -> list[str]:
    """The lines between BEGIN and END."""
    runs, singles = measured["runs"], {tuple(each["stages"]): each for each in measured["singles"]}
    head, *rows = _runs(runs, singles)
    lines = ["", *table(head, rows), ""]
    lines += [*(f"- {each}" for each in (*_same(runs), *_two_workers(runs), *_quality(runs))), ""]
    head, *rows = _million(runs)
    lines += ["By arithmetic from these, a million repositories:", "", *table(head, rows), ""]
    return lines


def write(measured: dict) -> None:
    """Put the figures into the document."""
    renew(DOCUMENT, BEGIN, END, figures(measured))


def per_suspect(run: dict) -> float:
    """Processor seconds that a suspect takes, the start of workers and models and Ray's own processes included."""
    return sum(run["processor"].values()) / run["suspects"]


def _runs(runs: list[dict], singles: dict) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (
            "stages", "engine, workers", "models", "processor s a model", "of it coordinator, Ray's own",
            "processor s of one command", "times, a core", "models a second (load)", "memory, first and second half",
            "result folder",
        )
    ]  # fmt: skip
    for run in sorted(runs, key=lambda each: (each["stages"], each["suspects"], each["engine"], each["workers"])):
        one = singles.get(tuple(run["stages"]))
        own, rays = (run["processor"].get(who, math.nan) / run["suspects"] for who in ("coordinator", "ray"))
        rows.append(
            (
                ", ".join(run["stages"]),
                f"{run['engine']}, {run['workers']}",
                f"{run['suspects']:,}",
                f"{per_suspect(run):.3f}",
                f"{own:.4f}, {'not told apart' if math.isnan(rays) else f'{rays:.3f}'}",
                f"{one['processor']:.1f}" if one else "–",
                f"{one['processor'] / per_suspect(run):.0f}×" if one else "–",
                f"{run['rate']:.1f} ({run['load']:.0f})",
                f"{run['memory_first_half'] / 1e6:,.0f} MB, {run['memory_second_half'] / 1e6:,.0f} MB",
                f"{run['bytes'] / 1e6:.1f} MB",
            )
        )
    return rows


def _same(runs: list[dict]) -> list[str]:
    """Which runs of the same suspects gave the same table."""
    tables: dict[tuple, set[str]] = {}
    names: dict[tuple, list[str]] = {}
    for run in runs:
        key = tuple(run["stages"]), run["suspects"]
        tables.setdefault(key, set()).add(run["table"])
        names.setdefault(key, []).append(f"{run['engine']} with {run['workers']}")
    return [
        f"{', '.join(key[0])}, {key[1]:,} models: {', '.join(names[key])} gave "
        f"{'the same bytes' if len(found) == 1 else f'{len(found)} different tables'}."
        for key, found in sorted(tables.items())
        if len(names[key]) > 1
    ]


def _two_workers(runs: list[dict]) -> list[str]:
    """What two workers are worth, where one and two did the same."""
    said = []
    by = {(tuple(each["stages"]), each["suspects"], each["engine"], each["workers"]): each for each in runs}
    for (stages, suspects, engine, workers), one in sorted(by.items()):
        two = by.get((stages, suspects, engine, 2))
        if workers == 1 and two is not None:
            said.append(
                f"{', '.join(stages)}, {suspects:,} models: two {engine} workers did {two['rate'] / one['rate']:.2f} "
                f"times as many a second as one ({two['steady_rate'] / one['steady_rate']:.2f} without the start; "
                f"loads {two['load']:.0f} and {one['load']:.0f}), at {per_suspect(two) / per_suspect(one):.2f} times "
                "the processor time each."
            )
    return said


def _quality(runs: list[dict]) -> list[str]:
    """What the largest run of each choice of stages says of right and wrong."""
    largest: dict[tuple, dict] = {}
    for run in runs:
        key = tuple(run["stages"])
        if key not in largest or run["suspects"] > largest[key]["suspects"]:
            largest[key] = run
    return list(
        dict.fromkeys(
            line + "."
            for _, run in sorted(largest.items(), key=lambda each: -len(each[0]))
            for line in run["summary"]
            if any(word in line for word in QUALITY)
        )
    )


def _million(runs: list[dict]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("stages", "projector", "bytes read", "core hours")]
    with safe_open(ASSETS / "nursery" / "base.safetensors", framework="np") as file:
        numbers = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no dict
    for stages in sorted({tuple(each["stages"]) for each in runs}):
        run = max((each for each in runs if tuple(each["stages"]) == stages), key=lambda each: each["suspects"])
        seconds = per_suspect(run)
        rows.append(
            (
                ", ".join(stages),
                f"the nursery's ({numbers:,} numbers, 32 bits)",
                f"{MILLION * 4 * numbers * len(stages) / 1e12:.1f} TB",
                f"{MILLION * seconds / 3600:,.0f} ({seconds * 1000:.0f} ms each)",
            )
        )
    job = next(each for each in json.loads(RESULTS.read_text())["jobs"] if each["name"] == "weights")
    large = {each["quantity"]: each["ours"] for each in job["figures"]}
    rows.append(
        (
            "weights",
            "LLaVA-1.5-7B's (16 bits; docs/performance.md)",
            f"{MILLION * large['bytes read'] / 2 / 1e12:.0f} TB",  # half of it is base's
            f"{MILLION * 2 * large['time'] / 3600:,.0f} ({large['time']:.1f} s of a command on 2 cores each)",
        )
    )
    return rows


if __name__ == "__main__":
    write(json.loads(MEASURED.read_text()))
