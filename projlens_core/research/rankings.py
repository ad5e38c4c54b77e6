"""How well scores rank poisoned members above honest ones: rows of docs/verdict.md."""

from collections.abc import Callable, Iterator, Sequence

from projlens_core.analyses.verdict.calibration import Calibration
from projlens_core.analyses.verdict.covariates import RANK, UPDATE
from projlens_core.research import evaluation
from projlens_core.research.evaluation import COSTLY, COUNTS, HONEST, SEALED, Entry
from projlens_core.runtime.markdown import table

HEAD = ("score", "poisoned", "honest", "AUROC", "interval", "bootstrap")
Groups = dict[str, tuple[list[Entry], list[Entry]]]  # title → honest and poisoned members
Score = Callable[[Entry], float | None]


def lines(entries: Sequence[Entry], unseen: Sequence[Entry], novel: Sequence[Entry], by: Calibration) -> list[str]:
    """A row a score and group of members. unseen: first searches of sealed members; novel: of the novel part; by: the
    calibration whose score ranks.
    """
    groups = _groups(entries, unseen, novel)
    return table(HEAD, list(_rows(groups, _scores(entries, groups, by))))


def _groups(entries: Sequence[Entry], unseen: Sequence[Entry], novel: Sequence[Entry]) -> Groups:
    honest = [e for e in entries if e.split == SEALED and e.truth == HONEST]
    test, tested = ([e for e in entries if e.tests and (e.truth == HONEST) is clean] for clean in (True, False))
    sealed = [e for e in entries if e.split == SEALED and e.truth != HONEST]
    adaptive = [e for e in sealed if e.adaptive]
    attacks, costly = ([e for e in sealed if e.truth == of and not e.adaptive] for of in (COUNTS, COSTLY))
    every = [*attacks, *costly]
    return {
        "attacks that count": (honest, attacks),
        "all that succeed": (honest, every),
        "all that succeed, first search": (
            [e for e in unseen if e.truth == HONEST],
            [e for e in unseen if e.truth != HONEST and not e.adaptive],
        ),
        "adaptive attackers": (honest, adaptive),
        "attacks that count above the test part": (test, attacks),
        "all that succeed above the test part": (test, every),
        "adaptive attackers above the test part": (test, adaptive),
        "attacks that count and decided nothing above the test part": (test, [e for e in tested if e.truth == COUNTS]),
        "all that decided nothing above the test part": (test, tested),
        "the novel part's first search above the test part": (test, list(novel)),
    }


def _scores(entries: Sequence[Entry], groups: Groups, by: Calibration) -> dict[str, Score]:
    linear = evaluation.linear_scores(entries)
    scores: dict[str, Score] = {
        "the whole search": lambda e: by.score(e.statistics),
        "its residuals alone": lambda e: e.statistics.residual,
        "its probes alone": lambda e: e.statistics.unsettled,
        "its text on fresh images alone": lambda e: e.statistics.said,
        "baseline: relative size of the change": lambda e: e.case.sizes[UPDATE],
        "baseline: concentration of the change": lambda e: -e.case.sizes[RANK],
        "baseline: spectral features, linear model": lambda e: linear.get(e.name),
    }
    for name in sorted({name for pair in groups.values() for of in pair for e in of for name in e.baselines}):
        scores[f"baseline: {name}"] = lambda e, name=name: e.baselines.get(name)  # type: ignore[misc]
    return scores


def _rows(groups: Groups, scores: dict[str, Score]) -> Iterator[tuple[str, ...]]:
    for title, (clean, poisoned) in groups.items():
        for name, score in scores.items():
            found = evaluation.ranking(clean, poisoned, score)
            if found is not None:
                yield (
                    f"{name}, {title}",
                    str(found.poisoned),
                    str(found.honest),
                    f"{found.auroc:.3f}",
                    f"{found.low:.2f} – {found.high:.2f}",
                    f"{found.resampled[0]:.2f} – {found.resampled[1]:.2f}",
                )
