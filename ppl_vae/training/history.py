"""The history of a training, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ppl_vae.display import Displayed, View
from ppl_vae.runs import metrics
from ppl_vae.runs.metrics import parsed, to_line

if TYPE_CHECKING:
    import pandas as pd

Row = metrics.Row

SHOWN = ("epoch", "train/bound", "validation/bound", "validation/elbo", "lr", "seconds")


@dataclass(repr=False)
class History(Displayed):
    """Rows of metrics, one per epoch, in nats per datum.

    Args:
        rows: each with `epoch`, `step`, `train/bound`, `train/elbo`, …, `validation/bound`, …, `lr`,
            `grad_norm`, `seconds`. The training figures are averages over the data of the epoch, at the
            weights and β of each step; the validation figures are taken after it, with every schedule at its
            final value.
        status: `"running"`, `"finished"`, `"stopped early"` or `"interrupted"`.
        compiled: how the steps were run, with the reason.
        warnings: what the linter found that may be meant as it is.
        keep: the weights that the pair holds afterwards, see `fit`: `"best"` or `"last"`.

    Example:
        >>> rows = [{"epoch": 1, "validation/bound": -9.0}, {"epoch": 2, "validation/bound": -9.5}]
        >>> history = History(rows)
        >>> history.best_epoch, history["validation/bound"]
        (1, [-9.0, -9.5])
    """

    rows: list[Row] = field(default_factory=list)
    status: str = "running"
    compiled: str = "eager"
    warnings: tuple[Any, ...] = ()
    keep: str = "best"

    @property
    def best(self) -> Row | None:
        """The row of the highest validation bound, or of the last epoch where there is no validation data."""
        scored = [r for r in self.rows if math.isfinite(r.get("validation/bound", math.nan))]
        if scored:
            return max(scored, key=lambda r: r["validation/bound"])
        return self.rows[-1] if self.rows else None

    @property
    def best_epoch(self) -> int | None:
        """The epoch of `best`."""
        return None if self.best is None else int(self.best["epoch"])

    @property
    def is_validated(self) -> bool:
        """True if there is an epoch with a validation bound, without which no epoch is better than the last."""
        return any(math.isfinite(row.get("validation/bound", math.nan)) for row in self.rows)

    @property
    def kept(self) -> Row | None:
        """The row of the weights that the pair holds afterwards: `best`, or the last one where `keep` says so."""
        return self.last if self.keep == "last" else self.best

    @property
    def loss(self) -> float:
        """The number to minimize: minus the validation ELBO of the weights that are kept, nats per datum.

        The ELBO is unweighted (β = 1, no annealing, one and the same for every objective), so that runs of different
        objectives can be compared, and a search over β, K or the objective is not driven to the loosest bound. *Which*
        epoch's weights are kept is decided by the objective's own validation bound, see `best`. Without validation data
        it is the ELBO of training, averaged over the last epoch. NaN before the first epoch.
        """
        row = self.kept or {}
        return -row.get("validation/elbo", row.get("train/elbo", math.nan))

    @property
    def skipped(self) -> int:
        """Steps that were skipped because bound or gradient was not finite (see `fit`'s `nonfinite`)."""
        return int(sum(row.get("skipped", 0) for row in self.rows))

    @property
    def result(self) -> dict[str, Any]:
        """The result of a run: the number of epochs, and the figures of the weights that are kept."""
        row = self.kept or {}
        shown = {k: v for k, v in row.items() if k.startswith("validation/") or k in ("train/bound", "train/elbo")}
        skipped = {"skipped": self.skipped} if any("skipped" in row for row in self.rows) else {}
        return {"epochs": len(self), "best_epoch": self.best_epoch, **skipped, **shown}

    @property
    def last(self) -> Row | None:
        """The row of the last epoch."""
        return self.rows[-1] if self.rows else None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, key: str) -> list[float]:
        """One column; NaN where a row lacks it."""
        if not any(key in row for row in self.rows):
            raise KeyError(f"Got column {key!r}, expected one of {', '.join(self.columns) or '(no rows yet)'}.")
        return [row.get(key, math.nan) for row in self.rows]

    @property
    def columns(self) -> list[str]:
        """All keys, in order of appearance."""
        return list(dict.fromkeys(key for row in self.rows for key in row))

    def to_frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, a column per metric."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.columns)

    def to_jsonl(self) -> str:
        """The rows as JSON, one a line."""
        return "".join(to_line(row, check=False) for row in self.rows)

    @classmethod
    def from_jsonl(cls, text: str) -> History:
        r"""Read what `to_jsonl` wrote; a torn last line is ignored.

        Raises:
            DamagedError: naming the first line that is not what was written.

        Example:
            >>> History.from_jsonl('{"epoch": 1, "lr": null}\n{"epoch": 2, "l').rows
            [{'epoch': 1, 'lr': nan}]
        """
        return cls(parsed(text.encode(), "the text"), status="finished")

    def _view(self) -> View:
        if not self.rows:
            return View(f"History(no epochs, {self.status})")
        n = len(self)
        skipped = f", {self.skipped} steps skipped" if self.skipped else ""
        best = f", best epoch {self.best_epoch}" if self.is_validated else ""
        columns = [c for c in SHOWN if c in self.columns]
        return View(
            f"History({n} epoch{'s' if n > 1 else ''}, {self.status}{best}{skipped})",
            columns,
            [[row.get(c) for c in columns] for row in self.rows],
        )


def epochs_since_best(rows: Sequence[Row]) -> int:
    """Epochs since the validation bound was last raised: early stopping needs no state but the history."""
    best = History(list(rows)).best_epoch
    return 0 if best is None else int(rows[-1]["epoch"]) - best
