"""The words of the linter: one finding, and the report of all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ppl_vae.core.series import series
from ppl_vae.display import Displayed, View


@dataclass(frozen=True, repr=False)
class Finding(Displayed):
    """One thing that is wrong with a pair, or looks as if it were.

    Attributes:
        kind: Its name in one word or two, to test for: `"misspelt site"`, `"support"`.
        what: What was found, and what was expected.
        where: The site, plate or parameter, with the user's file and line where they are known.
        why: Why it matters.
        fix: What to do.
        severity: `"error"`: the pair cannot be trained as it stands; `"warning"`: it can, and may be meant so.
    """

    kind: str
    what: str
    where: str
    why: str
    fix: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.kind}, at {self.where}\n  {self.what}\n  Why: {self.why}\n  Fix: {self.fix}"

    def _view(self) -> View:
        return View(f"{self.severity}: {self.kind}, at {self.where}", notes=str(self).split("\n")[1:])


@dataclass(frozen=True, repr=False)
class Report(Displayed):
    """The knowledge of `check` about a pair that it lets pass.

    Attributes:
        warnings: What may be meant as it is.
        data_plates: The names of the plate over data; none if the batch is one joint observation.
        estimators: For each latent site of the guide its estimator, and why it has that one.
        strategy: How particles are drawn.
        reasons: Why each strategy before it was passed over.
    """

    warnings: tuple[Finding, ...] = ()
    data_plates: frozenset[str] = frozenset()
    estimators: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    strategy: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """True if there is no warning."""
        return not self.warnings

    def __str__(self) -> str:
        plates = ", ".join(map(repr, sorted(self.data_plates))) or "none: the batch is one joint observation"
        lines = [f"data plate: {plates}", "estimators:"]
        told = self._told()
        width = max(map(len, told), default=0)
        lines += [f"  {site:<{width}}  {name}: {why}" for site, (name, why) in told.items()] or ["  none"]
        lines.append(f"particles: {self.strategy}")
        lines += [f"  not {name}: {why}" for name, why in self.reasons.items()]
        lines += [str(warning) for warning in self.warnings] or ["no warnings"]
        return "\n".join(lines)

    def _view(self) -> View:
        plates = ", ".join(map(repr, sorted(self.data_plates))) or "none: the batch is one joint observation"
        n = len(self.warnings)
        return View(
            f"Report({n} warning{'s' * (n != 1)}, data plate {plates}, particles by {self.strategy or 'one draw'})",
            ("site", "estimator", "why"),
            [(site, *told) for site, told in self._told().items()],
            [*(f"not {name}: {why}" for name, why in self.reasons.items()), *map(str, self.warnings)],
        )

    def _told(self) -> dict[str, tuple[str, str]]:
        """The estimators by site, those of a series that are alike in one line."""
        found = series(self.estimators)
        names = {n: f"{sites[0]} … {sites[-1]}" for sites in found.values() for n in sites}
        return {names.get(site, site): why for site, why in self.estimators.items()}
