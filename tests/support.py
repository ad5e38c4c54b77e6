"""The support table: what the tests prove of each family, and where they do not, why."""

from collections.abc import Iterable
from typing import NamedTuple

from projlens_core.weights.families import Family, families

HEAD = """# Families

What ProjLens does with each family of multimodal model, as its tests prove it on tiny models: those of transformers'
own classes, or, where transformers has none, tensors under the names of the release. `make support` writes this table
from the tests' results.

- **Weights**: a planted change of rank 2 is found with its singular values and subspace to 1e-5, in the names listed.
- **Activations**: what the projector reads is taken without the language model; *exact*: the embeddings are those of
  the whole model; *placed*: a marked patch of an image moves the token that is mapped to it, for three shapes of it;
  *no grid*: its tokens are learned queries, each of which reads the whole image. Where parts that are compared act
  before the projector's first layer, a base and a suspect that differ in them have no input in common: for such a pair
  activations are refused, and answers are given all the same.
- **Behaviour**: *exact*: under a swapped projector the model's logits are, bit for bit, those of the suspect loaded
  whole, its matrices laid out in the same way.

A family that a config does not name is opened as one with `PATH#FAMILY`, FAMILY as in the first column.

| family | model | weights | activations | behaviour |
| --- | --- | --- | --- | --- |
"""


class Proof(NamedTuple):
    """A passed test proves `what` ("weights", "activations", "behaviour") of a family, in one form."""

    family: str
    what: str
    form: str


def table(proofs: Iterable[Proof]) -> str:
    """The table as Markdown, the families in the order of families.json."""
    proven: dict[tuple[str, str], set[str]] = {}
    for proof in proofs:
        proven.setdefault((proof.family, proof.what), set()).add(proof.form)
    rows = []
    for family in families().values():
        cells = [
            ", ".join(sorted(proven.get((family.name, what), ()))) or f"no: {_why(family, what)}"
            for what in ("weights", "activations", "behaviour")
        ]
        rows.append(f"| {' | '.join([f'`{family.name}`', family.title, *cells])} |")
    return HEAD + "\n".join(rows) + "\n"


def _why(family: Family, what: str) -> str:
    if what == "weights":
        return "not proven"
    # only here: every test run imports this module, and these take seconds
    from projlens_core.activations.plans import NO_PLAN
    from projlens_core.behaviour.prompts import NO_STYLE
    from tests.pico_families import MODELS

    if family.name not in MODELS:
        return NO_PLAN.get(family.name, "transformers does not load it")
    reason = family.not_run or NO_PLAN.get(family.name)
    return reason or (NO_STYLE.get(family.name, "not proven") if what == "behaviour" else "not proven")
