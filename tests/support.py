"""The support table: family × weights, activations, behaviour, from what tests prove."""
from typing import NamedTuple
class Proof(NamedTuple):
    family: str
    what: str
    form: str
def table(proofs): return str(sorted(proofs))
