"""The JavaScript engine that draws charts, alone: it is what a stranger's chart is drawn with in a process of its own.

Little is imported here, so that such a process begins fast.
"""

from typing import Any

import vl_convert


def svg(spec: str, version: str) -> str:
    """The Vega-Lite specification, JSON, of this version of the grammar as SVG. Nothing is fetched from anywhere."""
    return vl_convert.vegalite_to_svg(spec, vl_version=version, allowed_base_urls=[])


def svgs(values: dict[str, Any]) -> dict[str, Any]:
    """Of the "specs", each as JSON, the "drawn": SVG or, where the engine refuses one, None. To be run in a child."""
    drawn: list[str | None] = []
    for spec in values["specs"]:
        try:
            drawn.append(svg(spec, values["version"]))
        except ValueError:
            drawn.append(None)
    return {"drawn": drawn}
