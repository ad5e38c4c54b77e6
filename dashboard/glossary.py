"""The words of all pages, each in one sentence: one click away on every page."""

import json
from pathlib import Path

_WORDS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
GLOSSARY: dict[str, str] = _WORDS["meanings"]
# Of each page, the words that it uses and most others do not.
OWN: dict[str, tuple[str, ...]] = {page: tuple(terms) for page, terms in _WORDS["words of pages"].items()}


def glossary_of(page: str) -> dict[str, str]:
    """All words, those of this page first."""
    return {term: GLOSSARY[term] for term in (*OWN.get(page, ()), *GLOSSARY)}
