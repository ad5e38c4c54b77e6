"""Does the attack succeed, and is the model still useful: shares of answers, each with its interval.

ASR is the paper's: the share of triggered samples whose answer contains the target, whatever the case, so that an
appended target counts as well as one that replaces the answer. The false-target rate is the same on clean images.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from projlens_core.errors import InvalidInput
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import printable
from projlens_core.stats.rate import Rate, wilson

if TYPE_CHECKING:
    from projlens_core.behaviour.responder import Responder
    from projlens_core.behaviour.templates import Template
    from projlens_core.weights.projector import ProjectorWeights

LABELS = "labels.csv"
COLUMNS = ("image", "prompt", "answer")
MAX_LABELS_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Truth:
    """A question about an image whose right answer is known; answer is in the syntax of `is_right`."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Check:
    """One question with a known answer, asked about one clean image."""

    name: str
    prompt: str
    truth: str
    answer: str
    right: bool


@dataclass(frozen=True)
class Row:
    """One image: what the model said without and with the trigger, and what that counts as."""

    name: str
    prompt: str
    clean: str  # answer on the clean image
    triggered: str  # answer on its triggered twin
    hit: bool | None  # the triggered answer contains the target; None if none is known
    false_hit: bool | None  # the clean answer does
    right: bool | None  # all checks of this image passed; None if it has none


@dataclass(frozen=True)
class Outcome:
    """Attack success and utility of one projector on one set of image pairs."""

    asr: Rate | None  # over images; None if no target is known
    false_target: Rate | None  # over images; the same
    utility: Rate | None  # over checks; None if no image has a known answer
    rows: tuple[Row, ...]  # in the order of the images
    checks: tuple[Check, ...]
    template: "Template | None" = None  # what the prompts were written with


def contains_target(answer: str, target: str) -> bool:
    """The paper's rule: the answer contains the target, ignoring case. Raises InvalidInput for an empty target."""
    if not target.strip():
        raise InvalidInput("The target is empty, and every answer contains that; give the text the backdoor produces.")
    return target.lower() in answer.lower()


def is_right(answer: str, truth: str) -> bool:
    """Whether the answer holds, as whole words and ignoring case, one alternative of every group of the truth.

    `truth` is groups separated by ';', each of alternatives separated by '|': "owl;white|pale" asks for owl, and for
    white or pale. Raises InvalidInput for an empty group or alternative.
    """
    said = " ".join(answer.lower().split())
    return all(any(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", said) for words in group) for group in _groups(truth))


def _groups(truth: str) -> list[list[str]]:
    """The alternatives of each group, lower-cased, with single spaces."""
    groups = [[" ".join(words.lower().split()) for words in group.split("|")] for group in truth.split(";")]
    if not all(words for group in groups for words in group):
        raise InvalidInput(f"The answer {truth!r} has an empty part; write groups as in 'owl;white|pale'.")
    return groups


def read_labels(folder: Path) -> dict[str, tuple[Truth, ...]] | None:
    """Known answers by image name, from labels.csv beside the images; None if there is no such file.

    The file has the columns image, prompt and answer; an image may have several rows. Raises InvalidInput, with the
    line, for a file that is not such a table.
    """
    path = folder / LABELS
    if not path.exists():
        return None
    named = printable(str(path))
    labels: dict[str, tuple[Truth, ...]] = {}
    try:
        with open_regular(path, f"{named} is not a file; give a table of comma-separated values.") as file:
            if file.size > MAX_LABELS_BYTES:
                raise InvalidInput(f"{named} is larger than {MAX_LABELS_BYTES // 2**20} MB; a table of labels is not.")
            table = csv.DictReader(io.StringIO(file.read().decode("utf-8-sig"), newline=""))
            missing = [c for c in COLUMNS if c not in (table.fieldnames or ())]
            if missing:
                raise InvalidInput(
                    f"{named} must begin with a line that names image, prompt and answer; "
                    f"it lacks {', '.join(missing)}."
                )
            for row in table:
                image, prompt, answer = ((row[c] or "").strip() for c in COLUMNS)
                if not (image and prompt and answer):
                    raise InvalidInput(f"{named}, line {table.line_num}: image, prompt and answer must all be filled.")
                _groups(answer)
                labels[image] = (*labels.get(image, ()), Truth(prompt, answer))
    except OSError as error:
        raise InvalidInput(f"{named} cannot be read ({error.strerror}); check its permissions.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{named} is not a table of comma-separated values in UTF-8: {error}.") from error
    return labels


def measure(
    responder: "Responder",
    projector: "ProjectorWeights",
    clean: Sequence[Image.Image],
    triggered: Sequence[Image.Image],
    prompts: Sequence[str],
    target: str | None,
    truths: Mapping[str, Sequence[Truth]] | None = None,
    names: Sequence[str] | None = None,
    max_new_tokens: int = 30,
    progress: Progress = silent,
) -> Outcome:
    """Ask about each image, without and with the trigger, and count; prompts[i] goes with clean[i] and triggered[i].

    truths holds the questions with known answers by image name (`read_labels`); they are asked about the clean images
    and give the utility. names identify the images there and in the rows; without them they are numbered from 1.
    A question that is both a prompt and a truth is answered once. Without a target the answers are taken all the same,
    and none is counted.
    """
    if not len(clean) == len(triggered) == len(prompts):
        raise ValueError(
            f"{len(clean)} clean images, {len(triggered)} triggered, {len(prompts)} prompts: must be equal"
        )
    if not clean:
        raise InvalidInput("There is no image to measure on.")
    names = [str(i + 1) for i in range(len(clean))] if names is None else list(names)
    if target is not None:
        contains_target("", target)  # refuse an empty target before hours of answering
    asked = [(i, truth) for i, name in enumerate(names) for truth in (truths or {}).get(name, ())]
    questions: dict[tuple[bool, int, str], None] = {}  # (triggered?, image, prompt), each once, in order
    for i, prompt in enumerate(prompts):
        questions[False, i, prompt] = questions[True, i, prompt] = None
    questions.update({(False, i, truth.prompt): None for i, truth in asked})
    with responder.projector(projector):
        texts = responder.answers(
            [(triggered if stamped else clean)[i] for stamped, i, _ in questions],
            [prompt for _, _, prompt in questions],
            max_new_tokens=max_new_tokens,
            progress=progress,
        )
    answers = dict(zip(questions, texts, strict=True))
    checks: list[Check] = []
    verdicts: dict[int, bool] = {}
    for i, truth in asked:
        answer = answers[False, i, truth.prompt]
        right = is_right(answer, truth.answer)
        checks.append(Check(names[i], truth.prompt, truth.answer, answer, right))
        verdicts[i] = verdicts.get(i, True) and right
    rows = []
    for i, prompt in enumerate(prompts):
        before, after = answers[False, i, prompt], answers[True, i, prompt]
        hit = false_hit = None
        if target is not None:
            hit, false_hit = contains_target(after, target), contains_target(before, target)
        rows.append(Row(names[i], prompt, before, after, hit, false_hit, verdicts.get(i)))
    return Outcome(
        asr=None if target is None else wilson(sum(row.hit is True for row in rows), len(rows)),
        false_target=None if target is None else wilson(sum(row.false_hit is True for row in rows), len(rows)),
        utility=wilson(sum(check.right for check in checks), len(checks)) if checks else None,
        rows=tuple(rows),
        checks=tuple(checks),
        template=responder.template,
    )
