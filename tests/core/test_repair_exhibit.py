"""How a repair is shown."""

from types import SimpleNamespace

from projlens_core.analyses.repair.exhibit import _by_name


def test_cards_and_chart_call_an_attack_the_same():
    attacks = [
        SimpleNamespace(attack=SimpleNamespace(origin=origin)) for origin in ("given", "found", "found", "found")
    ]
    names = "ASR, given trigger", "ASR, found trigger", "ASR, found trigger 2", "ASR, found trigger 3"
    assert _by_name(attacks) == dict(zip(names, attacks, strict=True))
