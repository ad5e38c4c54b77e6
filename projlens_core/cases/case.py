"""A case: the base, the suspect and perhaps a control, as the user named them, and their weights once opened."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from projlens_core.activations.around import described
from projlens_core.cases.quantised_notes import quantised_notes
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.runtime.progress import Progress, silent
from projlens_core.runtime.text import listed
from projlens_core.sources import Source, resolve
from projlens_core.weights.delta import Delta, check_same_input, compare
from projlens_core.weights.delta_spectra import DeltaSpectra, decompose_deltas
from projlens_core.weights.families import Family
from projlens_core.weights.noise import NoiseEdge
from projlens_core.weights.projector import ProjectorWeights, described_like, read_projector
from projlens_core.weights.spectrum import Spectrum

PROJECTOR_ONLY = "projector_only"  # in an address
_NOTABLE = 0.1  # rounding floor / ‖Δ‖ from which a note says so
_HALF = {"float16": "11", "bfloat16": "8"}  # significant bits of a stored weight


@dataclass(frozen=True)
class Case:
    """What to compare, each a path or zoo:NAME. control is a clean fine-tune of the base, or None.

    projector_only: an experiment that runs one vision tower and one language model, base's, under every projector,
    whatever else suspect and control bring.
    """

    base: str
    suspect: str
    control: str | None = None
    projector_only: bool = False

    @property
    def specs(self) -> dict[str, str]:
        """What is compared, by role."""
        return {"base": self.base, "suspect": self.suspect} | ({"control": self.control} if self.control else {})

    def to_params(self) -> dict[str, str]:
        """The case as URL query parameters; from_params gives it back."""
        return self.specs | ({PROJECTOR_ONLY: "1"} if self.projector_only else {})

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> "Case":
        """A case from URL query parameters, others than its own ignored; InvalidInput if base or suspect is missing."""
        if missing := [name for name in ("base", "suspect") if not params.get(name)]:
            raise InvalidInput(f"The address names no {' and no '.join(missing)}; choose a case again.")
        alone = params.get(PROJECTOR_ONLY) == "1"
        return cls(params["base"], params["suspect"], params.get("control") or None, alone)


@dataclass(frozen=True)
class OpenedCase:
    """The weights of a case and what changed in them.

    delta is suspect − base, control_delta control − base (None without a control).
    notes: sentences for the user: what was not compared, and what to bear in mind when reading the numbers.
    """

    case: Case
    family: Family
    base: ProjectorWeights
    suspect: ProjectorWeights
    control: ProjectorWeights | None
    delta: Delta
    control_delta: Delta | None
    notes: tuple[str, ...]

    @property
    def projectors(self) -> dict[str, ProjectorWeights]:
        """The projectors by role, the control where there is one."""
        roles = {"base": self.base, "suspect": self.suspect, "control": self.control}
        return {role: weights for role, weights in roles.items() if weights is not None}

    def check_same_input(self, own: Collection[str] = ()) -> None:
        """Unsupported unless one tower can serve the projectors of all roles but those in `own`, which have their own;
        see delta.check_same_input."""
        first, *rest = (weights for role, weights in self.projectors.items() if role not in own)
        for other in rest:
            check_same_input(first, other)

    @cached_property
    def delta_spectra(self) -> dict[str, DeltaSpectra]:
        """How each change is built, by role, "suspect" and, if there is one, "control"; see decompose."""
        return self._decomposed(silent)

    def decompose(self, progress: Progress = silent) -> "OpenedCase":
        """The case itself, its spectra taken, which takes seconds for large matrices."""
        if "delta_spectra" not in self.__dict__:
            self.__dict__["delta_spectra"] = self._decomposed(progress)
        return self

    def _decomposed(self, progress: Progress) -> dict[str, DeltaSpectra]:
        deltas = {"suspect": self.delta} | ({"control": self.control_delta} if self.control_delta else {})
        return dict(zip(deltas, decompose_deltas(list(deltas.values()), progress), strict=True))

    @property
    def spectra(self) -> dict[str, Spectrum]:
        """Of suspect − base, for each 2-D tensor that was compared, by canonical name."""
        return self.delta_spectra["suspect"].spectra

    @property
    def edges(self) -> dict[str, NoiseEdge]:
        """Of the same tensors."""
        return self.delta_spectra["suspect"].edges

    @property
    def control_spectra(self) -> dict[str, Spectrum]:
        """Of control − base; empty without a control."""
        return self.delta_spectra["control"].spectra if self.control else {}

    @property
    def control_edges(self) -> dict[str, NoiseEdge]:
        """Of the same tensors."""
        return self.delta_spectra["control"].edges if self.control else {}


Read = Callable[..., ProjectorWeights]  # as read_projector


def open_case(case: Case, progress: Progress = silent, read: Read = read_projector) -> OpenedCase:
    """Read the projectors of a case and compare them; errors as read_projector and compare.

    read: what reads each of them, for who has some of them at hand.
    """
    base, suspect, *rest = read_projectors(
        [case.base, case.suspect, *([case.control] if case.control else [])], progress, read
    )
    control = rest[0] if rest else None
    delta = compare(base, suspect)
    control_delta = compare(base, control) if control else None
    return OpenedCase(
        case=case,
        family=base.family,
        base=base,
        suspect=suspect,
        control=control,
        delta=delta,
        control_delta=control_delta,
        notes=tuple(_notes(delta, control_delta)),
    )


def model_source(case: Case) -> Source:
    """Whose vision tower and language model are run: base's, or the suspect's if base is a lone projector file."""
    if found := described(resolve(spec) for spec in (case.base, case.suspect)):
        return found
    raise Unsupported(
        "Neither base nor suspect comes with a model around its projector, so nothing can be run; "
        "give at least one of them as a checkpoint folder with config.json."
    )


def read_projectors(
    specs: Sequence[str], progress: Progress = silent, read: Read = read_projector
) -> list[ProjectorWeights]:
    """Read projectors that are to be compared; errors as read_projector.

    The first is the base, on which adapters among the others are laid. Lone projector files say neither family nor
    activation; they are read as the first of the others that does says.
    """
    found = []
    for done, spec in enumerate(specs):
        progress("Reading projectors", done, len(specs))
        found.append(read(spec, base=specs[0] if done else None))
    progress("Reading projectors", len(specs), len(specs))
    model = next((weights for weights in found if weights.described), None)
    if model is None:
        return found
    return [described_like(weights, model) if _is_like(weights, model) else weights for weights in found]


def _is_like(weights: ProjectorWeights, model: ProjectorWeights) -> bool:
    """Whether a projector that no config describes may be one of the model's family."""
    may_be = weights.may_be or (model.family.name,)
    return not weights.described and weights.family.layers == model.family.layers and model.family.name in may_be


def _notes(delta: Delta, control: Delta | None) -> list[str]:
    base, suspect = delta.base, delta.suspect
    notes = ["Vision tower and language model: not compared. Only the projector was read."]
    if base.family.name != suspect.family.name:
        notes.append(
            f"The base is a {base.family.title} projector and the suspect a {suspect.family.title} one; they were "
            "compared because both kinds have the same layers."
        )
    if delta.not_compared:
        notes.append(f"Not compared: {'; '.join(f'{what} ({why})' for what, why in delta.not_compared)}.")
    if delta.equal:
        notes.append("The suspect's projector equals the base's in every value; if it hides something, then elsewhere.")
    elif not delta.changed:
        notes.append(unproven(delta))
    elif delta.uncompared:
        notes.append(left_out(delta))
    notes += [
        f"The configs differ: {name} is {ours} in the base and {theirs} in the suspect; each runs with its own."
        for name, ours, theirs in delta.settings_changed
    ]
    if not (base.described or suspect.described):
        notes.append(f"No config describes these projectors; read as {base.family.title} with its default activation.")
    notes += [
        f"The projector reads the question, too: image embeddings are those for {question!r}, answers those to the "
        "question that is asked."
        for name, question in base.settings.items()
        if name.endswith(".instruction")
    ]
    notes += _precision_notes(delta)
    notes += quantised_notes(delta)
    if control is None:
        notes.append(
            "No control: an honest fine-tune changes weights in few directions too, "
            "so these numbers say what changed, not whether it is a backdoor."
        )
    elif control.suspect.sha256 == suspect.sha256 and not (control.uncompared or delta.uncompared):
        notes.append("The control's projector equals the suspect's in every value, so it controls nothing.")
    elif control.suspect.sha256 == suspect.sha256:
        notes.append("In all that was compared the control has the suspect's values, so it controls nothing.")
    if control is not None and control.uncompared:
        names = listed(what for what, _ in control.uncompared)
        notes.append(f"Not compared with the control, although it belongs to a projector: {names}.")
    roles = (("Base", base), ("Suspect", suspect), *((("Control", control.suspect),) if control else ()))
    return notes + [f"{role}: {warning}" for role, weights in roles for warning in weights.warnings]


def unproven(delta: Delta) -> str:
    """A sentence for a delta in which nothing changed and not all was compared."""
    return f"No tensor that was compared changed, but not all were compared. {left_out(delta)}"


def left_out(delta: Delta) -> str:
    """A sentence that names what belongs to a projector and was not compared."""
    names = listed(what for what, _ in delta.uncompared)
    return (
        f"These belong to a projector and were not compared, so that they may hold a change: {names}. "
        "A comparison of the rest of the model covers those that both have."
    )


def _precision_notes(delta: Delta) -> list[str]:
    """Rounding that was stored, and can be mistaken for a change or hide one."""
    ours, theirs = delta.base.dtype, delta.suspect.dtype
    notes = []
    if ours != theirs:
        notes.append(f"The base is stored as {ours} and the suspect as {theirs}.")
    elif ours in _HALF:
        notes.append(
            f"Weights are stored as {ours}, {_HALF[ours]} significant bits: smaller changes were rounded away."
        )
    moved = [tensor for tensor in delta.tensors if tensor.changed]
    shares = {t.name: t.rounding.frobenius / t.frobenius for t in moved if t.rounding and t.frobenius}
    if shares and max(shares.values()) >= _NOTABLE:
        most = max(shares, key=lambda name: shares[name])
        notes.append(
            f"Rounding alone would make a change up to {min(shares[most], 1):.0%} as large as that of {most}; it "
            "spreads over all singular values, and those below the rounding floor may be nothing else."
        )
    if unknown := [tensor.name for tensor in moved if tensor.rounding is None]:
        notes.append(f"The rounding floor of {', '.join(unknown)} is not known: the stored type has no regular grid.")
    return notes
