"""Averages over the data of an epoch, kept on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Meter:
    """Σ_b B_b m_b / Σ_b B_b for metrics m_b of batches of B_b data: an average over data, not over batches.

    A metric that some batches do not have is averaged over the others, but for the KL of a site (`kl/…`): a batch
    without the site (a label that was observed there) has spent nothing on it, so that the KL of all sites, averaged
    over all data, sum up to log_likelihood − elbo.

    Nothing is read before `read`: adding costs three small kernels and no synchronization. Because NaN and
    infinities never leave a sum, the sum is also its own alarm, see `finite`.

    Example:
        >>> meter = Meter()
        >>> meter.add({"bound": torch.tensor(-1.0)}, 3)
        >>> meter.add({"bound": torch.tensor(-5.0)}, 1)
        >>> meter.read()
        {'bound': -2.0}
    """

    SKIPPED = "skipped"
    """The share of data in steps that were not taken: no metric, and counted in the average of none."""

    def __init__(self) -> None:
        # Metrics may change from batch to batch (labelled and unlabelled ones): a sum per set of names.
        self._sums: dict[tuple[str, ...], Tensor] = {}
        self._weights: dict[tuple[str, ...], int] = {}

    def add(self, metrics: Mapping[str, Tensor], weight: int, ok: Tensor | None = None) -> None:
        """Add 0-d tensors that are averages over `weight` data.

        Args:
            metrics: by name.
            weight: how many data.
            ok: 0-d; where it is false the metrics are those of a step that was not taken. None: it was.
        """
        self.add_row(tuple(metrics), torch.stack([m.detach() for m in metrics.values()]), weight, ok)

    def add_row(self, names: tuple[str, ...], values: Tensor, weight: int, ok: Tensor | None = None) -> None:
        """Add the same as one vector."""
        if ok is not None:
            names, values = (*names, self.SKIPPED), torch.where(ok, values, 0.0)
            values = torch.cat([values, 1 - ok.to(values.dtype).reshape(1)])
        self.sums(names, values.device).add_(values, alpha=weight)
        self.weigh(names, weight)

    def sums(self, names: tuple[str, ...], device: torch.device) -> Tensor:
        """Σ_b B_b m_b of these metrics, for whoever adds to it; who does says by `weigh` how much."""
        sums = self._sums.get(names)
        if sums is None:
            # Float64 keeps averages over millions of data exact enough; MPS has none.
            wide = torch.float32 if device.type == "mps" else torch.float64
            sums = self._sums[names] = torch.zeros(len(names), dtype=wide, device=device)
            self._weights[names] = 0
        return sums

    def weigh(self, names: tuple[str, ...], weight: int) -> None:
        """Take note that averages over `weight` data have been added to the sums."""
        self._weights[names] += weight

    def read(self) -> dict[str, float]:
        """Give the averages; this waits for the device."""
        totals: dict[str, float] = {}
        weights: dict[str, float] = {}
        everything = 0.0
        for names, sums in self._sums.items():
            found = dict(zip(names, sums.tolist(), strict=True))
            taken = self._weights[names] - found.pop(self.SKIPPED, 0.0)
            everything += taken
            for name, total in found.items():
                totals[name] = totals.get(name, 0.0) + total
                weights[name] = weights.get(name, 0.0) + taken
        weights |= {name: everything for name in totals if name.startswith("kl/")}
        return {name: total / weights[name] if weights[name] else math.nan for name, total in totals.items()}

    def merge(self, other: Meter) -> None:
        """Add all that another one was given."""
        for names, sums in other._sums.items():
            self.sums(names, sums.device).add_(sums)
            self.weigh(names, other._weights[names])

    def state(self, device: torch.device | None = None) -> dict[str, Any]:
        """Everything, to go on in the middle of an epoch, on the device where it is or on another one."""
        return {
            "sums": [(list(names), sums.to(device, copy=True)) for names, sums in self._sums.items()],
            "weights": list(self._weights.values()),
        }

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from what `state` gave."""
        self._sums = {tuple(names): sums.to(device, copy=True) for names, sums in state["sums"]}
        self._weights = dict(zip(self._sums, state["weights"], strict=True))
