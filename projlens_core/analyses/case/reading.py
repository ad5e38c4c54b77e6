"""How to read the spectra of a case: what they say depends on whether there is a control and what an adapter allows."""

from projlens_core.weights.delta import Delta

SPECTRA = (
    "How to read this: values above the noise edge are structure that the same numbers in random order would not show"
)
FAIR = (
    f"{SPECTRA}. A change in few directions has its first values higher above the edge, with more of the energy, than "
    "the control's. That says how the change is built, not whether there is a backdoor in it: on the nursery's models "
    "concentration ranks poisoned below honest ones (docs/scale.md)."
)
ALONE = (
    f"{SPECTRA}. An honest fine-tune has some of it too: without a control this says how the change is built, not "
    "whether there is a backdoor in it."
)
TABLE = (
    "How to read this: one row per tensor. The size of a change says how far training went and not what it taught: a "
    "backdoor need not be larger than an honest fine-tune, so no size clears a tensor."
)


def bounds(delta: Delta) -> tuple[int, ...]:
    """The ranks that an adapter allows its changes, ascending; none where no matrix is changed by factors alone."""
    return tuple(sorted({delta.suspect.ranks[t.name] for t in delta.matrices if t.name in delta.suspect.ranks}))


def moot(delta: Delta, control: Delta | None, name: str) -> int | None:
    """The rank that the matrix's change has at most, by construction, unless the control's has the same bound: then
    concentration is no evidence."""
    rank = delta.suspect.ranks.get(name)
    if rank is None or (control is not None and control.suspect.ranks.get(name) == rank):
        return None
    return rank


def spectra(delta: Delta, control: Delta | None) -> str:
    """How the spectra of this case are to be read, in one caption."""
    ranks = bounds(delta)
    if not ranks:
        return FAIR if control is not None else ALONE
    text = " and ".join(map(str, ranks))
    if all(moot(delta, control, name) is None for name in delta.suspect.ranks):
        return (
            f"{SPECTRA}. Suspect and control are adapters of rank {text}: neither changes more directions, so compare "
            "how the energy lies within these."
        )
    comparison = "The control does not have that rank" if control is not None else "There is no control"
    return (
        f"How to read this: the suspect is an adapter of rank {text}, so its change has rank ≤ {ranks[-1]} by "
        f"construction and concentration is no evidence. {comparison}: compare with an honest adapter of the same rank."
    )


def changes(delta: Delta, control: Delta | None) -> str:
    """How the table of tensors is to be read."""
    if bounds(delta) and any(moot(delta, control, name) is not None for name in delta.suspect.ranks):
        return f"{TABLE} Ranks and spikes are those that the adapter's factors allow."
    if control is None:
        return f"{TABLE} Without a control there is nothing to compare its concentration with either."
    return (
        f"{TABLE} By itself concentration decides nothing. Look where it is above the control's: at a lower stable "
        "rank, and at more spikes."
    )
