"""A trigger as data: validated when made, written to JSON and read back."""

import json
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from projlens_core.errors import InvalidInput, NotFound
from projlens_core.inputs.trigger_kinds import (
    COMMON,
    DEFAULT_RATIO,
    KINDS,
    NUMBERS,
    check_cells,
    check_number,
    check_position,
    refusal,
    show,
)
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.paths import ZOO
from projlens_core.runtime.text import printable

MAX_JSON_BYTES = 64 * 1024
_PLAIN_NAME = re.compile(r"(?!\.\.?$)[^/\\:]{1,200}")


@dataclass(frozen=True)
class TriggerSpec:
    """A trigger: its kind (a key of KINDS) and the parameters of that kind; those of other kinds are None.

    None, or null in JSON, is the same as not given: the kind's default is filled in.
    resolution: triggers are defined at display resolution. With it set, every image is first framed to a square of
    that side, so that a size in px or a noise level means the same on every image; None keeps each image's own size.
    position: one of POSITIONS, or (x, y) of the patch's top left corner: two whole numbers are px; with a decimal
    point they are shares of the free room, so that (0.0, 0.0) is the top left and (1.0, 1.0) the bottom right.
    cells: the colours of n × n cells, row by row, six hex digits each. A mosaic fades between their centres; a painted
    patch has edges, and where a cell is "------" it leaves the image as it is.
    image: a file name beside the spec file, in `folder`, which itself is not written to JSON.
    Construction validates: InvalidInput names the parameter, what was found and what is allowed.
    """

    kind: str
    resolution: int | None = None
    seed: int = 0
    colour: str | None = None
    image: str | None = None
    cells: str | None = None
    ratio: float | None = None
    px: int | None = None
    position: str | tuple[float, float] | None = None
    std: float | None = None
    grain: int | None = None
    radius: float | None = None
    size: int | None = None
    dyn_ratio: int | None = None
    alpha: float | None = None
    frequency: float | None = None
    amplitude: float | None = None
    folder: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise refusal("kind", self.kind, f"one of {', '.join(KINDS)}")
        defaults = KINDS[self.kind].defaults
        given = {f.name for f in fields(self) if getattr(self, f.name) is not None} - {*COMMON, "folder"}
        if foreign := sorted(given - defaults.keys()):
            raise InvalidInput(
                f"The {self.kind} trigger has no parameter {foreign[0]!r}; it has {', '.join((*COMMON, *defaults))}."
            )
        for name, default in defaults.items():
            if name not in given:
                object.__setattr__(self, name, default)
        if KINDS[self.kind].local and self.ratio is None and self.px is None:
            object.__setattr__(self, "ratio", DEFAULT_RATIO)
        for name in NUMBERS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if self.seed is None:
            raise refusal("seed", None, str(NUMBERS["seed"]))
        if self.ratio is not None and self.px is not None:
            raise InvalidInput("The trigger has both 'ratio' and 'px'; give its size one way.")
        if self.colour is not None:
            if not isinstance(self.colour, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
                raise refusal("colour", self.colour, "a colour such as '#26ff00'")
            object.__setattr__(self, "colour", self.colour.lower())
        if self.cells is not None:
            object.__setattr__(self, "cells", check_cells(self.cells, gaps=self.kind == "painted"))
        if self.position is not None:
            object.__setattr__(self, "position", check_position(self.position))
        self._check_image()

    def _check_image(self) -> None:
        if self.image is None:
            if self.kind == "image":
                raise refusal("image", None, "the name of an image file beside the trigger's JSON")
            return
        # A spec may come from anyone: its image may lie in the spec's own folder and nowhere else.
        if not isinstance(self.image, str) or not self.image.isprintable() or not _PLAIN_NAME.fullmatch(self.image):
            raise refusal("image", self.image, "a plain file name, without a folder")
        if self.folder is None:
            raise InvalidInput(
                f"The trigger's image {self.image!r} has no folder to lie in; "
                "give the trigger as a JSON file with the image beside it."
            )
        if self.grain != 1 and self.kind == "blend":
            raise InvalidInput("The trigger has both 'image' and 'grain'; the grain is that of a noise pattern.")

    @property
    def image_path(self) -> Path | None:
        """Where the trigger's image lies, or None; InvalidInput if a link leads out of the spec's folder."""
        if self.image is None or self.folder is None:
            return None
        path = (self.folder / self.image).resolve()
        if path.parent != self.folder.resolve():
            raise InvalidInput(f"The trigger's image {self.image!r} leads out of its folder; copy it there.")
        if not path.is_file():
            raise NotFound(f"The trigger's image {self.image!r} does not lie beside its JSON; put it there.")
        return path

    @property
    def placed(self) -> str | tuple[float, float]:
        """`position` of a patch; TypeError for a trigger that has none."""
        if self.position is None:
            raise TypeError(f"a {self.kind} trigger has no place")
        return self.position

    @property
    def local(self) -> bool:
        """Whether the trigger is a patch at a place, rather than a change of the whole image."""
        return KINDS[self.kind].local

    @property
    def title(self) -> str:
        """The kind in words, such as "Solid patch"."""
        return KINDS[self.kind].title

    def to_dict(self) -> dict[str, Any]:
        """All that applies to this kind, ready for JSON; from_dict gives an equal spec back."""
        names = (*COMMON, *KINDS[self.kind].defaults)
        values = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if isinstance(self.position, tuple):
            values["position"] = list(self.position)
        return values

    @property
    def key(self) -> str:
        """What decides what it does to an image: its parameters, and the folder in which its own image lies."""
        return f"{self.to_json()} {self.folder}"

    @property
    def digest(self) -> str:
        """A hash of what it does to an image, wherever its own image lies; NotFound if that is not there."""
        path = self.image_path
        return content_key(self.to_json(), path.read_bytes() if path else None)

    def to_json(self) -> str:
        """to_dict as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: object, folder: Path | None = None) -> Self:
        """The spec that `values` describes; `folder` is where its image lies, if it has one."""
        if not isinstance(values, dict):
            raise InvalidInput(f"A trigger is a JSON object with at least 'kind', not {show(values)}.")
        if "kind" not in values:
            raise InvalidInput(f"The trigger has no 'kind'; give one of {', '.join(KINDS)}.")
        known = {f.name for f in fields(cls)} - {"folder"}
        if unknown := [key for key in values if key not in known]:
            kind = values["kind"]
            allowed = (*COMMON, *KINDS[kind].defaults) if isinstance(kind, str) and kind in KINDS else sorted(known)
            raise InvalidInput(f"The trigger has an unknown key {show(unknown[0])}; known are {', '.join(allowed)}.")
        return cls(**values, folder=folder)

    @classmethod
    def from_json(cls, text: str, folder: Path | None = None) -> Self:
        """The spec in a JSON text; InvalidInput if it is not JSON or not a trigger."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, json.JSONDecodeError) else "nested too deep or a number too long"
            raise InvalidInput(f"The trigger is not valid JSON ({reason}); give an object with 'kind'.") from error
        return cls.from_dict(values, folder)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The spec in a JSON file; its image, if it has one, lies beside it."""
        path = Path(path)
        name = printable(str(path))
        try:
            with open_regular(path, f"{name} is not a file; give a trigger's JSON file.") as file:
                if file.size > MAX_JSON_BYTES:
                    raise InvalidInput(
                        f"{name} is larger than {MAX_JSON_BYTES // 1024} KiB, so not a trigger's JSON file."
                    )
                text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{name} is not UTF-8 text; give a trigger's JSON file.") from error
        except OSError as error:
            raise InvalidInput(f"{name} cannot be read ({error.strerror}); check its permissions.") from error
        return cls.from_json(text, path.parent)


PAPER_RESOLUTION = 336  # px; the input of LLaVA-1.5, in which the paper's 14 px patch is one vision token

# The paper's triggers and the two classic ones, by the name shown in a picker.
PRESETS = MappingProxyType(
    {
        name: TriggerSpec(resolution=PAPER_RESOLUTION, folder=ZOO / "triggers" if "image" in values else None, **values)
        for name, values in json.loads(Path(__file__).with_name("presets.json").read_text(encoding="utf-8")).items()
    }
)
