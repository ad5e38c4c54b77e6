"""Arguments that several commands take, worded once. `add_…` puts them on a parser; a command adds its own besides."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from projlens_core.errors import InvalidInput
from projlens_core.runtime.paths import SAMPLES

OWN_SAMPLES = (  # a line for outputs without --images
    "no images were given: the samples that ship with ProjLens were used, of which the model may know nothing; "
    "give --images DIR"
)


def add_case(
    parser: argparse.ArgumentParser, *, control: bool = True, many: bool = False, suspect_required: bool = True
) -> None:
    """--base, --suspect and, with `control`, --control. With `many`, --suspect may be repeated and is a list."""
    parser.add_argument("--base", required=True, metavar="MODEL", help="folder, file, zoo:NAME or hub:OWNER/NAME")
    about = "the model under suspicion, named like --base"
    suspect: dict[str, Any] = {"required": suspect_required, "metavar": "MODEL", "help": about}
    if many:
        suspect |= {"action": "append", "help": f"{about}; repeat for several"}
    parser.add_argument("--suspect", **suspect)
    if control:
        parser.add_argument("--control", metavar="MODEL", help="a clean fine-tune of the base, named like --base")


def add_projector_only(parser: argparse.ArgumentParser) -> None:
    """--projector-only, for commands that run models; see case.Case."""
    parser.add_argument(
        "--projector-only",
        action="store_true",
        help="an experiment: run base's vision tower and language model under every projector, even where the other "
        "models bring their own",
    )


def add_images(parser: argparse.ArgumentParser, *, note: str = "") -> None:
    """--images and --limit; `note` ends the help of --images. See images_folder."""
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help=f"a folder of clean images{note}; by default ProjLens's own samples"
    )
    parser.add_argument("--limit", "--n", type=positive, metavar="N", help="use the first N images only")


def images_folder(chosen: Path | None) -> Path:
    """The folder that --images named, else the samples'; InvalidInput if those did not come with this installation."""
    if chosen is None and not SAMPLES.is_dir():
        raise InvalidInput("No images were given, and the samples are not installed; give --images DIR.")
    return SAMPLES if chosen is None else chosen


def add_trigger(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """--trigger and, with `optional`, --no-trigger; see context.chosen_trigger."""
    parser.set_defaults(no_trigger=False)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--trigger", metavar="SPEC.json", help="trigger to stamp; a zoo suspect's own by default")
    if optional:
        group.add_argument("--no-trigger", action="store_true", help="look at clean images only")


def add_target(parser: argparse.ArgumentParser) -> None:
    """--target."""
    parser.add_argument(
        "--target", metavar="TEXT", help="what the backdoor makes the model say; a zoo suspect's own by default"
    )


def add_questions(parser: argparse.ArgumentParser) -> None:
    """--prompt."""
    parser.add_argument(
        "--prompt",
        action="append",
        dest="questions",
        metavar="TEXT",
        help="question; repeat for several, which take turns over the images; by default a zoo suspect's own, "
        "else each image's first in labels.csv",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device; see device.pick_device."""
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps; the fastest there is by default")


def add_answers(parser: argparse.ArgumentParser) -> None:
    """--max-new-tokens, for commands that run the language model."""
    parser.add_argument(
        "--max-new-tokens", type=positive, default=30, metavar="N", help="longest answer, in tokens; 30 by default"
    )


def add_json(parser: argparse.ArgumentParser, holds: str = "all figures") -> None:
    """--json; `holds` says what the JSON has that the text has not."""
    parser.add_argument("--json", action="store_true", help=f"write JSON with {holds}")


def add_csv(parser: argparse.ArgumentParser, holds: str) -> None:
    """--csv FILE; `holds` names the table."""
    parser.add_argument("--csv", type=Path, metavar="FILE", help=f"also write {holds} to FILE as CSV")


def at_least(low: float) -> Callable[[str], int]:
    """Whole numbers from `low`, for argparse."""

    def number(text: str) -> int:
        if (found := int(text)) < low:
            raise argparse.ArgumentTypeError(f"{found} is not {low} or more")
        return found

    number.__name__ = "int"  # as argparse names the type in its message
    return number


positive = at_least(1)
