"""The knowledge that preparing a pair gives: one frozen value, passed to whatever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ppl_vae.core.plates import PlateStructure
from ppl_vae.display import Displayed, View, few
from ppl_vae.estimators.default import resolve

Mode = Literal["estimate", "draw", "sum"]
"""The way the latent sites of a guide get their values.

- `"estimate"`: as their estimators say, for gradients: relaxed, antithetic, enumerated;
- `"draw"`: each by one draw from q as the guide declares it (ancestral draws);
- `"sum"`: so, but sites whose estimator enumerates them are summed out, where they stand in the data plate alone.
"""


@dataclass(frozen=True, repr=False)
class Prepared(Displayed):
    """The way a pair is run on batches of one structure, in one mode.

    Attributes:
        plates: The shape of the two programs.
        estimators: The gradient estimator of each latent site of the guide, as declared or by default.
        named: The estimators as the user named them, which sites unknown so far go by.
        mode: How these sites get their values.
        marginal: Sites that only the model has and that are summed out of it.
        summed: Sites that the guide enumerates.
        unpaired: Auxiliary sites of the guide that the model has no reverse of, and that carry no other site.
        strategy: How several particles are drawn: `"plate"`, `"tile"` or `"loop"`; empty until it is needed.
        reasons: Why each strategy before the chosen one was passed over.
        released: How several particles of the model with its observations released are drawn; empty until it is needed.
    """

    plates: PlateStructure
    estimators: Mapping[str, Any]
    named: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode = "estimate"
    marginal: frozenset[str] = frozenset()
    summed: frozenset[str] = frozenset()
    unpaired: frozenset[str] = frozenset()
    strategy: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    released: str = ""

    def _view(self) -> View:
        plates = ", ".join(sorted(self.plates.data_plates)) or "none"
        rows = [
            (name, type(self.estimators[name]).__name__ if name in self.estimators else None, few(sorted(above)))
            for name, above in {**self.plates.above, **self.plates.parents}.items()
        ]
        title = f"Prepared(data plate {plates}, particles by {self.strategy or 'nothing yet'})"
        return View(title, ("site", "estimator", "given"), rows)

    @property
    def enumerates(self) -> bool:
        """True if a site of either program is enumerated."""
        return bool(self.marginal or self.summed)

    @property
    def relaxed(self) -> frozenset[str]:
        """Sites whose values are continuous in the place of discrete ones."""
        if self.mode != "estimate":
            return frozenset()
        return frozenset(name for name, e in self.estimators.items() if getattr(e, "relaxes", False))

    def estimator(self, msg: dict[str, Any]) -> Any:
        """The estimator of a latent site of the guide; in programs whose sites vary from run to run, by its message."""
        known = self.estimators.get(msg["name"])
        return resolve(msg["name"], msg, self.named, escapes=bool(self.plates.escaping)) if known is None else known

    def sums(self, msg: dict[str, Any]) -> bool:
        """True if the guide sums over a latent site."""
        if self.mode == "draw":
            return False
        return msg["name"] in self.summed or (msg["name"] not in self.estimators and self.estimator(msg).enumerates)

    def drawing(self, summable: frozenset[str] = frozenset()) -> "Prepared":
        """The pair as declared: every site one draw of its distribution, but those of `summable` summed out."""
        summed = self.summed & summable
        return replace(self, mode="sum" if summed else "draw", summed=summed, strategy="", reasons={}, released="")
