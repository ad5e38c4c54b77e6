"""The listing looked at: what each entry's files hold, so that its tasks have their names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from projlens_core.errors import ProjLensError
from projlens_core.screen.identity import identity, pinned
from projlens_core.screen.listing import Listing

BASES = 1000  # of which the identity is kept


@dataclass(frozen=True)
class ListingEntry:
    """One entry of a listing. suspect, base: pinned specs, named: as the listing has it; identity, base_identity: what
    their files hold; trouble: why that is not known, "" if it is.
    """

    named: str
    role: str
    truth: str | None
    suspect: str
    identity: str
    base: str
    base_identity: str
    trouble: str = ""


def entries(listing: Listing, looked: Callable[[int], None] = lambda _: None) -> Iterator[ListingEntry]:
    """All entries in their order; `looked` is told how many there were before each."""
    bases: dict[str, tuple[str, str] | str] = {}
    for number, each in enumerate(listing.entries):
        looked(number)
        if each.base not in bases:
            if len(bases) == BASES:
                bases.clear()
            bases[each.base] = _look(each.base)
        found = _look(each.suspect), bases[each.base]
        trouble = next((answer for answer in found if isinstance(answer, str)), "")
        (suspect, own), (base, of_base) = (("", "") if isinstance(answer, str) else answer for answer in found)
        yield ListingEntry(each.suspect, each.role, each.truth, suspect, own, base, of_base, trouble)


def _look(spec: str) -> tuple[str, str] | str:
    """The pinned spec and its identity, or the sentence that says why there is none."""
    try:
        name = pinned(spec)
        return name, identity(name)
    except ProjLensError as error:
        return str(error)
