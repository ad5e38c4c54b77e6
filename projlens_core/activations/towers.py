"""The vision towers of a case: one that serves all its projectors or, where models differ in it, each model's own."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from projlens_core.activations.layout import TokenMap
from projlens_core.activations.tokens import alike, image_tokens
from projlens_core.activations.vision import VisionTower
from projlens_core.errors import Unsupported
from projlens_core.runtime.cache import content_key
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.required import required


@dataclass(frozen=True)
class OwnTokens:
    """The tokens of the same images as base's tower reads them and as another model's own does: (n, T, d_vision)
    each, one image after the other."""

    base: torch.Tensor
    own: torch.Tensor

    def __post_init__(self) -> None:
        if self.base.shape[:2] != self.own.shape[:2]:
            raise Unsupported(
                f"Base's vision tower makes {self.base.shape[1]} tokens of an image and the other model's "
                f"{self.own.shape[1]}, so their embeddings have no places in common that could be compared; compare "
                "the two by their weights and by their answers."
            )

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, rows: slice) -> "OwnTokens":
        return OwnTokens(self.base[rows], self.own[rows])

    def split(self, size: int) -> list["OwnTokens"]:
        """The images in runs of `size`."""
        return [self[start : start + size] for start in range(0, len(self), size)]


Tokens = torch.Tensor | OwnTokens  # what base's and another projector read of images: the same, or each its own


def read_by_base(tokens: Tokens) -> torch.Tensor:
    """The tokens (n, T, d_vision) that base's projector reads."""
    return tokens.base if isinstance(tokens, OwnTokens) else tokens


def read_by_other(tokens: Tokens) -> torch.Tensor:
    """The tokens (n, T, d_vision) that the projector reads that is compared with base's."""
    return tokens.own if isinstance(tokens, OwnTokens) else tokens


def settled(tokens: Tokens | None) -> Tokens:
    """The tokens, where it is settled that there are such images; TypeError if there are none."""
    if tokens is None:
        raise TypeError("there are no tokens of such images")
    return tokens


def joined(parts: Sequence[Tokens]) -> Tokens:
    """The images of all parts, one after the other."""
    shared = [part for part in parts if not isinstance(part, OwnTokens)]
    if len(shared) == len(parts):
        return torch.cat(shared)
    return OwnTokens(torch.cat(list(map(read_by_base, parts))), torch.cat(list(map(read_by_other, parts))))


class Towers:
    """Vision towers by role. shared serves every role that is not in `own`; load gives the tower of one that is."""

    def __init__(
        self,
        shared: VisionTower,
        own: Collection[str] = (),
        load: Callable[[str], VisionTower] | None = None,
    ):
        self.shared, self.own, self._load = shared, frozenset(own), load

    def of(self, role: str) -> VisionTower:
        """The tower that the projector of this role reads from."""
        return required(self._load, f"how to load the tower of {role}")(role) if role in self.own else self.shared

    @cached_property
    def key(self) -> str:
        """Identifies all that decides the tokens of every role."""
        if not self.own:
            return self.shared.key
        return content_key(self.shared.key, *((role, self.of(role).key) for role in sorted(self.own)))

    @property
    def keys(self) -> dict[str, str]:
        """The keys of the towers that a role has to itself."""
        return {role: self.of(role).key for role in sorted(self.own)}

    def layout(self, size: tuple[int, int]) -> TokenMap:
        """Where the tokens of an image of `size` (width, height, px) come from, in base's tower."""
        return self.of("base").layout(size)

    def apart(self, role: str) -> bool:
        """Whether base and this role read from different towers."""
        return role != "base" and bool({"base", role} & self.own)

    def tokens(
        self, roles: Sequence[str], images: Sequence[Image.Image], progress: Progress = silent
    ) -> dict[str, Tokens]:
        """What base's projector and each role's read of images; kept on disk, see image_tokens.

        Unsupported where the tokens of the two lie otherwise.
        """
        return self._read(roles, images, lambda tower: image_tokens(tower, images, progress))

    def encoded(self, roles: Sequence[str], images: Sequence[Image.Image]) -> dict[str, Tokens]:
        """The same, not kept on disk."""
        sizes = [image.size for image in images]
        return self._read(roles, images, lambda tower: alike(list(tower.encode(images)), sizes))  # some give a list

    def twins(
        self,
        roles: Sequence[str],
        clean: Sequence[Image.Image],
        triggered: Sequence[Image.Image] | None,
        progress: Progress = silent,
    ) -> dict[str, tuple[Tokens, Tokens | None]]:
        """What base's projector and each role's read of clean images and of their triggered twins, if there are any."""
        found = self.tokens(roles, [*clean, *(triggered or ())], progress)
        count = len(clean)
        return {role: (tokens[:count], None if triggered is None else tokens[count:]) for role, tokens in found.items()}

    def _read(
        self, roles: Sequence[str], images: Sequence[Image.Image], run: Callable[[VisionTower], torch.Tensor]
    ) -> dict[str, Tokens]:
        """Each tower runs once, base's first."""
        base = run(self.of("base"))
        found: dict[str, Tokens] = {}
        for role in roles:
            if self.apart(role):
                self._check_alike(role, images)
            found[role] = OwnTokens(base, run(self.of(role))) if self.apart(role) else base
        return found

    def _check_alike(self, role: str, images: Sequence[Image.Image]) -> None:
        for size in {image.size for image in images}:
            one, other = self.of("base").layout(size), self.of(role).layout(size)
            same = one.grid == other.grid and one.kinds == other.kinds
            if not (same and np.allclose(one.boxes, other.boxes)):
                raise Unsupported(
                    f"The vision towers of base and {role} cut an image of {size[0]} × {size[1]} px otherwise, so the "
                    "places of their tokens have nothing in common that could be compared; compare the two by their "
                    "weights and by their answers."
                )
