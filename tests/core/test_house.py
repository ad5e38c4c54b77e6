"""The order of the house: who may import whom, no circles, and no module that one cannot read at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("projlens_core", "dashboard")
MOST_LINES = 300
# Each may import what stands on its own line or above it.
FLOORS = (
    ("errors", "runtime"),
    ("stats",),
    ("inputs", "sources"),
    ("weights",),
    ("demo_model",),
    ("activations",),
    ("behaviour",),
    ("cases",),
    ("charts",),
    ("repair",),
    ("analyses",),
    ("report",),
    ("zoo", "nursery"),  # they make models and measure them by all that the engine has
    ("research",),
    ("library", "screen"),
    ("cli",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def _modules() -> dict[str, Path]:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def _imported(name: str, modules: dict[str, Path]) -> set[str]:
    """What a module imports of ours at any place but for types alone."""
    found = set()
    tree = ast.parse(modules[name].read_text(encoding="utf-8"))
    typing = {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for each in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in modules else node.module for each in inside}
    return (found & modules.keys()) - {name}


def _circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules each of which reaches all others of its set (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = set()

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            members = frozenset(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(members) > 1:
                found.add(members)

    for name in graph:
        if name not in index:
            visit(name)
    return found


MODULES = _modules()
GRAPH = {name: _imported(name, MODULES) for name in MODULES}


def _place(name: str) -> str:
    return name.split(".")[1] if name.startswith("projlens_core.") else name.split(".")[0]


def test_no_module_imports_what_stands_above_it():
    upward = {
        (name.removeprefix("projlens_core."), other.removeprefix("projlens_core."))
        for name, imported in GRAPH.items()
        for other in imported
        if _place(name) in FLOOR and FLOOR.get(_place(other), len(FLOORS)) > FLOOR[_place(name)]
    }
    assert not upward


def test_the_engine_never_imports_the_dashboard():
    assert not [
        name for name in GRAPH if name.startswith("projlens_core") and {"dashboard"} & {_place(o) for o in GRAPH[name]}
    ]


def test_imports_run_in_no_circle():
    """But from the record of an analysis to its own exhibit, which it imports when it is called."""
    short = {frozenset(each.removeprefix("projlens_core.") for each in circle) for circle in _circles(GRAPH)}
    rooms = {circle for circle in short if len({tuple(each.split(".")[:2]) for each in circle}) == 1}
    rooms = {circle for circle in rooms if all(each.startswith("analyses.") for each in circle)}
    assert not short - rooms


def test_no_module_is_longer_than_one_reads_at_once():
    long = {
        name: n
        for name, file in MODULES.items()
        if (n := len(file.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long
