"""An alarm for collapse, while there is still time to do something."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ppl_vae.core.data import as_split, take_data
from ppl_vae.diagnostics.latents import encodings

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE


class CollapseAlarm:
    """A callback for `fit` that warns, once per site, where a latent carries nothing about the data any more.

    A unit is dead where the variance over data of E[z | x] is below 0.01. The alarm goes off where all units of a site
    are dead for `patience` epochs on end. So that it costs nothing while all is well, it looks at units only where the
    KL of a site in the row of metrics is below `below`; `history` keeps the number of active units whenever it looked.
    Latents are dead at first in many a healthy run: a site that never was active counts from step `after` on, and until
    some KL has been above `below` it does not look before that step.

    Args:
        vae: the pair that is trained.
        data: some held-out data; the first `most` are looked at.
        patience: epochs that a site may be dead.
        after: steps that a site has to become active.
        most: data looked at.
        below: KL of a site, nats per datum; units that tell something of the data cost more.
        warn: what a warning is told to; standard error by default.

    References:
        Bowman et al. (2016), Generating Sentences from a Continuous Space, https://arxiv.org/abs/1511.06349

    >>> pv.fit(vae, data, callbacks=[CollapseAlarm(vae, data.validation)])  # doctest: +SKIP
    """

    def __init__(
        self,
        vae: "VAE",
        data: Any,
        *,
        patience: int = 3,
        after: int = 500,
        most: int = 500,
        below: float = 0.5,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self.vae, self.data = vae, take_data(vae, as_split(data, vae)[:most])
        self.patience, self.after, self.below = patience, after, below
        self.warn = warn or (lambda text: print(text, file=sys.stderr))
        self.history: list[dict[str, int]] = []
        self._dead: dict[str, int] = {}
        self._lived: set[str] = set()

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Look at the pair after an epoch."""
        part = "validation" if any(key.startswith("validation/kl/") for key in row) else "train"
        kl = [value for key, value in row.items() if key.startswith(f"{part}/kl/")]
        if kl and min(kl) > self.below:
            self._dead.clear()
            self._lived.update(key.removeprefix(f"{part}/kl/") for key in row if key.startswith(f"{part}/kl/"))
            return
        if not self._lived and row.get("step", self.after) < self.after:
            return  # dead at first, and still in time: looking costs as much as a short epoch
        draws = max(32, 16_000 // len(self.data))  # few data need means that are known well
        codes = encodings(self.vae, self.data, draws=draws)
        active = {c.name: (int(c.active.sum()), len(c.active)) for c in codes}
        self.history.append({name: count for name, (count, _) in active.items()})
        for name, (count, units) in active.items():
            if count:
                self._lived.add(name)
            early = name not in self._lived and row.get("step", self.after) < self.after
            self._dead[name] = 0 if count or early else self._dead.get(name, 0) + 1
            if self._dead[name] == self.patience:
                self.warn(
                    f"collapse: none of the {units} units of {name!r} has been active for {self.patience} epochs "
                    f"(epoch {row.get('epoch', len(self.history))}): the guide gives the prior, whatever the data. "
                    "Raise β slowly from 0 (objective.beta), keep free bits, or take a weaker likelihood."
                )

    @property
    def collapsed(self) -> list[str]:
        """The sites for which the alarm went off."""
        return [name for name, dead in self._dead.items() if dead >= self.patience]
