"""What came of a repair: each attempt, and the projector in the end."""

from dataclasses import dataclass

from projlens_core.repair.problem import KnownAttack
from projlens_core.repair.token_steps import Pull, TokenFit
from projlens_core.repair.utility import KeptAnswers, spares
from projlens_core.weights.projector import ProjectorWeights

TOKENS, ANSWERS, REMOVAL, RETURN = "image tokens", "language model", "rank-k removal", "return to base"


@dataclass(frozen=True)
class Round:
    """One attempt: by which means, how strong (of the pull to base, or how many directions), and what became of it.

    agreement: with the suspect's own clean answers. lost, learned: as of utility.Cost. pull, fit: of token steps.
    works: names of the probes of known attacks that still succeed. remnants: how many token patterns that brought a
    known text joined the image tokens.
    """

    means: str
    strength: float
    pull: Pull | None
    agreement: KeptAnswers
    lost: float
    learned: float | None
    kept: bool
    fit: TokenFit | None
    works: tuple[str, ...]
    remnants: int = 0

    @property
    def spares(self) -> bool:
        """See utility.spares."""
        return spares(self.lost, self.learned)


@dataclass(frozen=True)
class Repaired:
    """The result: its projector, how it came about, the attacks that are known, and whether it was searched at last.

    attacks: given and found, in any round. open: those that still worked on the images of the repair at the end.
    searched: how many searches were made, of the suspect, and of results; found: how many triggers in the suspect, and
    in the result, None where it was not searched.
    """

    weights: ProjectorWeights
    rounds: tuple[Round, ...]
    attacks: tuple[KnownAttack, ...]
    open: tuple[KnownAttack, ...]
    searched: int
    result_searched: bool
    found: tuple[int | None, int | None] = (None, None)

    @property
    def left(self) -> bool:
        """Whether the suspect was left as it is, since a search found nothing in it."""
        return self.searched > 0 and not self.rounds

    @property
    def returned_to_base(self) -> bool:
        """Whether nothing else did: what the fine-tune had learned is gone, too."""
        return bool(self.rounds) and self.rounds[-1].means == RETURN
