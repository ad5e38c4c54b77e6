"""What a case says about weights that are stored quantised, and how far that alone explains a difference."""

from projlens_core.weights.delta import Delta

_NO_MORE = 1.25  # ‖Δ‖ / rounding floor up to which a change is no more than rounding leaves


def quantised_notes(delta: Delta) -> list[str]:
    """What stands in quantised form, and how far that alone explains the difference."""
    notes = []
    for role, weights in (("base", delta.base), ("suspect", delta.suspect)):
        names = sorted(weights.grids)
        forms = sorted({weights.stored[name] for name in names})
        if names:
            notes.append(
                f"The {role}'s {', '.join(names)} {'is' if len(names) == 1 else 'are'} stored quantised "
                f"({', '.join(forms)}) and compared by the values that the codes stand for."
            )
    moved = [(t, t.rounding) for t in delta.tensors if t.changed and t.rounding and t.rounding.quantised]
    small = [t.name for t, rounding in moved if t.frobenius <= _NO_MORE * rounding.frobenius]
    if small:
        notes.append(
            f"The change of {', '.join(small)} is no larger than quantising alone makes it, so it is no sign of a "
            "fine-tune, and one that is smaller cannot be seen; give the checkpoint before quantisation, if you can."
        )
    if least := [t.name for t, rounding in moved if rounding.least and t.name not in small]:
        notes.append(
            f"{', '.join(least)}: quantisers of this form (GPTQ, AWQ, SmoothQuant) may rescale weights or move them "
            "further than to the nearest number, so that the rounding floor is the least of what quantising does; a "
            "difference from a plain base is no sign of a fine-tune by itself."
        )
    return notes
