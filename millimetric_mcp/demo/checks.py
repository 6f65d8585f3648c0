"""What the product answered against what was sent: exactly, or within the estimate's bound."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNIQUES_TOLERANCE = 0.03


@dataclass(slots=True)
class Checks:
    """How many numbers agreed, and a sentence about each that did not."""

    agreed: int = 0
    mismatches: list[str] = field(default_factory=list)

    def equal(self, what: str, *, found: object, sent: object) -> None:
        """``found`` must be what was sent."""
        self._note(found == sent, f"{what}: {found!r} came back, {sent!r} was sent")

    def near(self, what: str, *, found: object, sent: int) -> None:
        """``found`` is an estimate and must lie within 3 % of what was sent."""
        close = isinstance(found, int) and abs(found - sent) <= UNIQUES_TOLERANCE * sent
        self._note(close, f"{what}: {found!r} came back, {sent!r} ± 3 % was sent")

    def same_keys(self, what: str, *, found: Mapping[Any, Any], sent: Mapping[Any, Any]) -> None:
        """Nothing is missing and nothing was made up."""
        missing, invented = sorted(sent.keys() - found.keys()), sorted(found.keys() - sent.keys())
        self._note(not missing, f"{what}: missing {missing}")
        self._note(not invented, f"{what}: never sent {invented}")

    def _note(self, agreed: bool, sentence: str) -> None:  # noqa: FBT001 - the verdict itself
        if agreed:
            self.agreed += 1
        else:
            self.mismatches.append(sentence)
