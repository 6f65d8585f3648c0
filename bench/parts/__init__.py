"""The parts of the benchmark, in the order they run: each a module with a TITLE and a measure()."""

from collections.abc import Callable, Mapping

from bench.parts import (
    batch,
    classifier,
    codecs,
    fairness,
    fresh,
    imports,
    inserts,
    isolation,
    mcp,
    page,
    people,
    reads,
    restore,
    rivals,
    scale,
    track,
)
from bench.report import Findings
from bench.workspace import Workspace

__all__ = ["ON_DEMAND", "PARTS"]

PARTS: Mapping[str, tuple[str, Callable[[Workspace], Findings]]] = {
    module.__name__.rpartition(".")[2]: (module.TITLE, module.measure)
    for module in (
        track,
        inserts,
        batch,
        fresh,
        imports,
        reads,
        people,
        codecs,
        isolation,
        fairness,
        rivals,
        mcp,
        page,
        classifier,
        restore,
        scale,
    )
}
"""By name, in the order they run."""

ON_DEMAND = frozenset({"scale"})
"""They take too long for a run that names no part; a quick run has them too."""
