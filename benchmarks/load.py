"""Job of many users at once: sessions that look at cases of their own, ask the one language model, switch cases.

Each session checks that what it is sent is its own: the names of its models, its heatmaps' numbers, its answers.
"""

import asyncio
import os
import re
import statistics
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.browser import Server, serving
from benchmarks.four import four_answers
from benchmarks.report import HELD, MEMORY, Figure, NoFigures, Report, Target
from benchmarks.session import Session, frames, session
from benchmarks.worker import peak_memory, resident_memory
from projlens_core.activations.model import VisionModel, load_vision
from projlens_core.activations.towers import Towers
from projlens_core.analyses.activation import measure
from projlens_core.behaviour.respond import load_responder
from projlens_core.behaviour.responder import Responder
from projlens_core.cases.case import Case, model_source, open_case
from projlens_core.inputs.images import NamedImage, load_folder
from projlens_core.inputs.triggers import PRESETS, TriggerSpec, frame, stamp
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.required import required
from projlens_core.sources import PREFIX, zoo_catalogue

NAME, TITLE = "sessions", "{} sessions at once (zoo)"
SESSIONS, IMAGES = 20, 12
ROUNDS = 10  # in each, every session chooses another image at the same moment
EARLY, LATE = 1, 10  # rounds of case switches, one a session, after which memory is compared
GROWTH = 1.1
PROMPTS = ("What is in the picture?",)  # what the page asks where the zoo says nothing
MEDIAN, P95, ANSWERED = "heatmaps, median", "heatmaps, p95", "answers, last of all"
BEFORE, AFTER, SWITCHES = f"{HELD} before anybody asks", f"{HELD} after all have", f"{HELD} after {{}} case switches"
PEAK = f"{MEMORY}, server"
LOG = "sessions.log"
SAME = 1e-4  # of the largest shift; in other batches a tower computes other last digits
PLACE = re.compile(r"number (\d+) in line for the language model")
NOTES = (
    "Heatmaps: from the choice of another image to the end of its page, all sessions at the same moment, the "
    "samples of every case analysed before; without the browser's own drawing.",
    "Answers: every session presses Ask at the same moment; two of them leave while they wait.",
)


@dataclass(frozen=True)
class Truth:
    """A case, and what its heatmaps must show: shift per patch under the suspect, by image and condition.

    answers: what base and suspect say of the images that are asked about, clean and triggered each.
    """

    case: Case
    shown: tuple[str, ...]  # names of the models on screen
    shifts: dict[str, dict[str, np.ndarray]]
    answers: dict[str, list[str]]


@dataclass
class Observed:
    """What the sessions measured together."""

    heatmaps: list[float] = field(default_factory=list)  # s
    answered: float = 0.0  # s
    longest: int = 0  # line before the language model that anybody was told of
    memory: dict[str, int] = field(default_factory=dict)  # when → bytes
    checked: int = 0  # pages that were the session's own


def run(folder: Path, quick: bool = False) -> Report:
    """Serve the dashboard and let the sessions at it; NoFigures as soon as one is sent what is not its own."""
    count, rounds, late = (4, 2, 2) if quick else (SESSIONS, ROUNDS, LATE)
    images = load_folder(ZOO / "samples").images
    source = model_source(_cases()[0])
    models, cases = (load_vision(source), load_responder(source)), _cases()[:count]
    truths = [
        _truth(case, *models, images, {(user + rounds - 1) % IMAGES for user in range(number, count, len(cases))})
        for number, case in enumerate(cases)
    ]
    with serving({**os.environ, "PROJLENS_DEVICE": "cpu"}, folder / LOG) as server:
        found = asyncio.run(_used(server, truths, count, rounds, late))
        peak = peak_memory(server.process)
    return _report(found, peak, count, quick)


def _cases() -> list[Case]:
    """Every suspect and control of the zoo against its base, held against each other control."""
    zoo = zoo_catalogue().values()
    base = next(entry.name for entry in zoo if entry.role == "base")
    controls = [entry.name for entry in zoo if entry.role == "control"]
    return [
        Case(PREFIX + base, PREFIX + entry.name, PREFIX + control)
        for control in controls
        for entry in zoo
        if entry.role != "base" and entry.name != control
    ]


def _truth(
    case: Case, tower: VisionModel, responder: Responder, samples: Sequence[NamedImage], asked: Collection[int]
) -> Truth:
    """What the floors below the dashboard say of a case when nobody else asks; asked: of which images, from 0."""
    names = [spec.removeprefix(PREFIX) for spec in (case.suspect, case.base, case.control)]
    entries = [zoo_catalogue()[name] for name in names]
    spec = TriggerSpec.from_file(entries[0].trigger) if entries[0].trigger else next(iter(PRESETS.values()))
    opened = open_case(case)
    pairs = {image.name: (frame(image.pixels, spec), stamp(image.pixels, spec)) for image in samples}
    judged = measure.sample_shift(opened, Towers(tower), *map(list, zip(*pairs.values(), strict=True)), "universal")
    question = (*entries[0].prompts, *PROMPTS)[0]
    shifts, answers = {}, {}
    for number, name in enumerate(list(pairs)[:IMAGES]):
        found = measure.image_shift(opened, Towers(tower), *pairs[name], "universal", judged)["suspect"]
        shifts[name] = {condition: np.abs(getattr(found, condition)) for condition in measure.CONDITIONS}
        if number in asked:
            said = four_answers(responder, opened.base, opened.suspect, *pairs[name], question)
            control = four_answers(responder, required(opened.control, "the control"), None, *pairs[name], question)
            answers[name] = [text for text in (*said.texts, *control.texts) if text]
    return Truth(case, tuple(entry.title for entry in entries), shifts, answers)


async def _used(server: Server, truths: Sequence[Truth], count: int, rounds: int, late: int) -> Observed:
    found = Observed()
    own = [truths[number % len(truths)] for number in range(count)]
    async with AsyncExitStack() as tabs:
        sessions = [await tabs.enter_async_context(session(server.url)) for _ in own]
        users = list(zip(sessions, own, strict=True))
        await asyncio.gather(*(_open(each, truth, found) for each, truth in users))
        for turn in range(rounds):
            images = [list(truth.shifts)[(number + turn) % IMAGES] for number, truth in enumerate(own)]
            await asyncio.gather(
                *(_choose(each, truth, name, found) for (each, truth), name in zip(users, images, strict=True))
            )
        await asyncio.gather(*(each.open("response", truth.case.to_params()) for each, truth in users))
        found.memory[BEFORE] = resident_memory(server.process)
        start = time.monotonic()
        await asyncio.gather(
            *(_ask(each, truth, name, found) for (each, truth), name in zip(users, images, strict=True)),
            *(_leave(server.url, t) for t in own[:2]),
        )
        found.answered = time.monotonic() - start
        found.memory[AFTER] = resident_memory(server.process)
        for turn in range(1, late + 1):
            moved = [truths[(number + turn) % len(truths)] for number in range(count)]
            await asyncio.gather(*(_open(each, truth, found) for each, truth in zip(sessions, moved, strict=True)))
            if turn in (EARLY, late):
                found.memory[SWITCHES.format(turn * count)] = resident_memory(server.process)
    return found


async def _open(session: Session, truth: Truth, found: Observed) -> None:
    await session.open("activation", truth.case.to_params())
    _check(session, truth, found)


async def _choose(session: Session, truth: Truth, image: str, found: Observed) -> None:
    start = time.monotonic()
    await session.choose("Image", image)
    found.heatmaps.append(time.monotonic() - start)
    _check(session, truth, found, image)


async def _ask(session: Session, truth: Truth, image: str, found: Observed) -> None:
    """Ask about the image on screen; the answers must be those that this session's projectors give."""
    await session.press("Ask")
    places = [int(hit[1]) for hit in map(PLACE.search, session.reported) if hit]
    if places != sorted(places, reverse=True):
        raise NoFigures(f"A session was told to move back in the line: {places}.")
    found.longest = max([found.longest, *places])
    answers = session.html()[1:]
    if answers != truth.answers[image]:
        raise NoFigures(f"{truth.case} was answered {answers} about {image}, not {truth.answers[image]}.")
    _check_names(session, truth, found)


async def _leave(url: str, truth: Truth) -> None:
    """Ask, and close the tab as soon as told to wait: the place must not be waited for."""
    async with session(url) as leaving:
        await leaving.open("response", truth.case.to_params())
        asking = asyncio.create_task(leaving.press("Ask"))
        while not any(map(PLACE.search, leaving.reported)) and not asking.done():
            await asyncio.sleep(0.05)
        if asking.done():
            asking.result()
        asking.cancel()


def _check(session: Session, truth: Truth, observed: Observed, image: str = "") -> None:
    """NoFigures unless names, image and heatmaps are the session's own."""
    _check_names(session, truth, observed)
    box = session.one("selectbox", "Image")
    shown = box.options[box.default]
    if image and shown != image:
        raise NoFigures(f"A session that chose {image} is shown {shown}.")
    maps = [frames(chart) for chart in session.all("vega_lite_chart") if chart.alt.startswith("Heatmap of the shift")]
    for data, (condition, own) in zip(maps, truth.shifts[shown].items(), strict=True):
        values = next(each for each in data if "value" in each and len(each))["value"].to_numpy()
        off = np.abs(values - own.ravel()).max() / own.max()
        if off > SAME:
            raise NoFigures(f"The {condition} heatmap of {shown} in {truth.case} is not its own, but off by {off:.1%}.")


def _check_names(session: Session, truth: Truth, observed: Observed) -> None:
    named = " ".join(f"{role} {name}" for role, name in zip(("suspect", "base", "control"), truth.shown, strict=True))
    if session.html()[0] != named:
        raise NoFigures(f"A session with {named!r} is shown {session.html()[0]!r}.")
    observed.checked += 1


def _report(observed: Observed, peak: int, count: int, quick: bool) -> Report:
    figures = {
        MEDIAN: statistics.median(observed.heatmaps),
        P95: statistics.quantiles(observed.heatmaps, n=20, method="inclusive")[-1],
        ANSWERED: observed.answered,
        **observed.memory,
        PEAK: peak,
    }
    early, late = (SWITCHES.format(turns * count) for turns in (EARLY, LATE))
    targets = {} if quick else {P95: Target(at_most=3), late: Target(at_most=GROWTH * observed.memory[early])}
    return Report(
        name=NAME,
        title=TITLE.format(count),
        figures=tuple(Figure(name, ours, None, targets.get(name, Target())) for name, ours in figures.items()),
        agreement=f"All {observed.checked} pages were the session's own; the longest line was of {observed.longest}.",
        notes=NOTES,
        timings={"heatmaps": tuple(observed.heatmaps)},
    )
