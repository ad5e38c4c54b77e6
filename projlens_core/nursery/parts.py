"""The parts of the population whose records ship alone: what is planned of each, and where its records lie."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from projlens_core.nursery import later, novel
from projlens_core.nursery.recipe import NOVEL, Recipe

PLANS: Mapping[str, Callable[[], tuple[Recipe, ...]]] = MappingProxyType({**later.PLANS, NOVEL: novel.make_plan})
FOLDERS: Mapping[str, Path] = MappingProxyType({**later.FOLDERS, NOVEL: novel.FOLDER})
