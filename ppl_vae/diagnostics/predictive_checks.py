"""Do new data look like the data? Posterior predictive checks and LOO-PIT, by statistics that the user names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.core.data import take_data
from ppl_vae.core.predict import predict
from ppl_vae.core.tiles import blocks, first_data, inference, plan
from ppl_vae.diagnostics.calibration import uniformity_p
from ppl_vae.display import Displayed, View
from ppl_vae.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE

Statistic = Callable[[Tensor], Tensor]

STATISTICS: Mapping[str, Statistic] = {
    "mean": lambda x: x.flatten(1).nanmean(1),
    "deviation": lambda x: (x.flatten(1) - x.flatten(1).nanmean(1, keepdim=True)).square().nanmean(1).sqrt(),
    "largest": lambda x: x.flatten(1).nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(1),
}
"""The default statistics: mean, standard deviation and maximum of a datum, missing values left out."""


@dataclass(frozen=True, repr=False)
class PredictiveChecks(Displayed):
    """The findings of predictive checks.

    Attributes:
        table: a row per statistic T: `observed`, the mean over data; ``posterior`` and `prior`, the same of new
            data given the data's latents, and given none; `posterior_p` and `prior_p` = P(T of new ≥ T of observed),
            T averaged over data; `pit_p`, p-value of uniform LOO-PIT values.
        pit: by statistic, `(data,)` in [0, 1], without data that are masked as a whole.
    """

    table: "pd.DataFrame"
    pit: dict[str, NDArray[np.float64]]

    def _view(self) -> View:
        n = len(next(iter(self.pit.values()), ()))
        columns = ["statistic", *map(str, self.table.columns)]
        return View(f"PredictiveChecks({n} data)", columns, [list(row) for row in self.table.itertuples()])


def predictive_checks(
    vae: "VAE",
    data: Any,
    statistics: Mapping[str, Statistic] | None = None,
    draws: int = 200,
    *,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PredictiveChecks:
    """Compare statistics of the data with those of data that the model makes.

    *Posterior*: x̃ᵢ ~ p(x | z), z ~ q(z | xᵢ). It uses each datum twice, so p-values are close to ½ unless the model
    cannot even rebuild the statistic. *LOO-PIT*: the rank of T(xᵢ) among T(x̃), x̃ ~ p(x | all other data). Given the
    parameters, data with latents of their own are independent, so that this is the model's p(x) itself: exact, with no
    importance weights (those of `az.loo` over local latents are unreliable). On data that were not trained on, uniform
    PIT values say that the model has the right distribution of T; a slope says that it is biased, a U that it is too
    narrow. Global latents are drawn from the guide.

    Args:
        vae: the pair.
        data: held-out data: a `Split`, a tensor or a tuple of them.
        statistics: by name, functions of x `(rows, *shape)` that give `(rows,)`. Where the model masks values of a
            datum, both it and the new data in its place hold NaN there; data masked as a whole are left out.
        draws: new data per datum.
        memory: upper limit of the working memory.
        seed: of everything drawn; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Raises:
        DataError: for a statistic of the wrong shape.
        CheckError: if the prior cannot be drawn from.

    References:
        Gelman, Meng and Stern (1996), Posterior predictive assessment of model fitness via realized discrepancies,
            https://www.jstor.org/stable/24306036
        Gabry et al. (2019), Visualization in Bayesian workflow, https://arxiv.org/abs/1709.01449
    """
    import pandas as pd

    statistics = STATISTICS if statistics is None else statistics
    split = take_data(vae, data)
    count = 0
    pit: dict[str, list[Tensor]] = {}
    sums: dict[str, dict[str, Any]] = {name: {"observed": 0.0, "posterior": 0.0, "prior": 0.0} for name in statistics}
    first = first_data(vae, split)
    with inference(vae, first) as draw:
        tiling = plan(vae, first, len(split), draws, memory, seed)
        shared: dict[int, dict[str, Tensor]] = {}
        for block in blocks(vae, split, tiling, progress):
            observed: Tensor | None = None
            new: dict[str, dict[str, list[Tensor]]] = {name: {"posterior": [], "prior": []} for name in statistics}
            for number, chunk in block.chunks(draws):
                t = draw(block.batch, chunk, values=shared.get(number))
                latents = {name: site.raw for name, site in t.latents.items() if name in t.model}
                held = {
                    name: latents[name] for name, site in t.latents.items() if not site.is_local and name in latents
                }
                shared.setdefault(number, held)
                site = _site(t, block.batch)
                if observed is None:
                    observed = t.model[site].seen[0]
                    gaps = observed.isnan() if observed.is_floating_point() else torch.zeros_like(observed).bool()
                    there = ~gaps.reshape(len(gaps), -1).all(1)
                for kind, values in (("posterior", latents), ("prior", held)):
                    x = predict(vae, block.batch, chunk, values=values)[0][site].value
                    if bool(gaps.any()):
                        x = torch.where(gaps, torch.nan, x)[:, there]
                    for name, statistic in statistics.items():
                        new[name][kind].append(_apply(name, statistic, x.flatten(0, 1)).reshape(x.shape[:2]))
            assert observed is not None
            count += int(there.sum())
            for name, statistic in statistics.items():
                truth = _apply(name, statistic, observed[there])
                drawn = {kind: torch.cat(parts) for kind, parts in new[name].items()}
                below, ties = (drawn["prior"] < truth).sum(0), (drawn["prior"] == truth).sum(0)
                place = torch.rand(below.shape, dtype=torch.float64).to(below.device)
                pit.setdefault(name, []).append(((below + place * (ties + 1)) / (draws + 1)).cpu())
                sums[name]["observed"] = sums[name]["observed"] + truth.sum()
                for kind, value in drawn.items():
                    sums[name][kind] = sums[name][kind] + value.sum(1)
    ranks = {name: torch.cat(parts).numpy() for name, parts in pit.items()}
    rows = []
    for name, of in sums.items():
        row = {"statistic": name, "observed": float(of["observed"]) / max(count, 1)}
        row |= {kind: float(of[kind].mean()) / max(count, 1) for kind in ("posterior", "prior")}
        row |= {f"{kind}_p": float((of[kind] >= of["observed"]).double().mean()) for kind in ("posterior", "prior")}
        rows.append({**row, "pit_p": float(uniformity_p(ranks[name][:, None])[0])})
    return PredictiveChecks(pd.DataFrame(rows).set_index("statistic"), ranks)


def _site(t: Any, batch: tuple[Any, ...]) -> str:
    """The site that observes x: the last one of its shape."""
    names = [n for n, s in t.model.items() if s.is_observed and s.is_local and s.fn is not None and s.value.numel()]
    shape = tuple(batch[0].shape) if isinstance(batch[0], Tensor) else None
    return [*names[:1], *(n for n in names if tuple(t.model[n].value.shape[1:]) == shape)][-1]


def _apply(name: str, statistic: Statistic, x: Tensor) -> Tensor:
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    value = torch.as_tensor(statistic(x.unsqueeze(1) if x.dim() == 1 else x))
    if value.shape != x.shape[:1]:
        raise DataError(
            f"Statistic {name!r} gave shape {tuple(value.shape)} for x of shape {tuple(x.shape)}, expected one number "
            f"per row: ({len(x)},)."
        )
    return value.double()
