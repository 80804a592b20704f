"""The likelihood of a table whose columns differ: each column has the family of its kind."""

from typing import Any, final

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppl_vae.distributions.columns import Columns, Levels
from ppl_vae.distributions.counts import NegativeBinomialLog
from ppl_vae.likelihoods.base import Likelihood
from ppl_vae.likelihoods.real import Scale, ScaleMode
from ppl_vae.nn.features import DataSpec
from ppl_vae.nn.heads import inverse_softplus, positive

NUMBERS = ("real", "positive", "count")


@final
class Mixed(Likelihood):
    r"""Independent columns: normal, log-normal, negative binomial, Bernoulli, categorical, ordinal (cumulative logit).

    Of a number the network gives η, and σ is learned; m and s are mean and standard deviation of the training data, of
    log x for positive x, of log(1 + x) for counts. Of an ordinal value it gives η, and thresholds θ are learned:

    $$x \sim \mathrm{Normal}(m + s\eta, s\sigma), \quad \log x \sim \mathrm{Normal}(m + s\eta, s\sigma), \quad
    x \sim \mathrm{NB}(\text{mean } e^{m + s\eta}, \text{dispersion } \sigma^2), \quad
    P(x \le r) = \mathrm{logistic}(\theta_r - \eta)$$

    Parameters are one vector, since columns have different numbers of them: `(..., num_params)`; `columns` says which
    column each belongs to.

    Args:
        spec: the dataset's spec; support `mixed`.
        scale: of σ: `element` (a column's own, learned), `network` (per datum and column), `shared` or `fixed` at 1.

    References:
        Nazabal, Olmos, Ghahramani and Valera (2020), Handling Incomplete Heterogeneous Data using VAEs,
            https://arxiv.org/abs/1807.03653
    """

    accepts = ("mixed",)
    columns: Tensor
    order: Tensor
    location: Tensor
    spread: Tensor
    category_index: Tensor
    ordinal_top: Tensor

    def __init__(self, spec: DataSpec, scale: ScaleMode = "element") -> None:
        super().__init__(spec)
        kinds = list(getattr(spec, "columns", ()))
        own = {kind: [i for i, c in enumerate(kinds) if c.kind == kind] for kind in (*NUMBERS, *_CODES)}
        numbers = [i for kind in NUMBERS for i in own[kind]]
        self.scale = Scale((len(numbers),), scale, 1.0)
        per_level = [i for i in own["category"] for _ in range(kinds[i].levels)]
        groups = [numbers, numbers * self.scale.num_params, own["binary"], per_level, own["ordinal"]]
        self.sizes = [len(group) for group in groups]
        self.numbers = [len(own[kind]) for kind in NUMBERS]
        self.num_params = sum(self.sizes)
        self.kinds = [kind for kind in own if own[kind]]
        places = [i for kind in self.kinds for i in own[kind]]
        self._hold("columns", [i for group in groups for i in group])
        self._hold("order", sorted(range(len(places)), key=places.__getitem__))
        for kind in self.kinds:
            self._hold(f"{kind}_places", own[kind])
        for kind in _CODES:
            self._hold(f"{kind}_count", [kinds[i].levels for i in own[kind]])
        self._hold("location", [kinds[i].location for i in numbers], torch.get_default_dtype())
        self._hold("spread", [kinds[i].scale for i in numbers], torch.get_default_dtype())
        self.most = {kind: max([kinds[i].levels for i in own[kind]], default=0) for kind in _CODES}
        # which of the parameters of all categories is that of a column's level; of levels that it lacks, any
        starts = [sum(kinds[i].levels for i in own["category"][:n]) for n in range(len(own["category"]))]
        rows = [
            [start + min(k, kinds[i].levels - 1) for k in range(self.most["category"])]
            for start, i in zip(starts, own["category"], strict=True)
        ]
        self._hold("category_index", rows)
        if own["ordinal"]:
            self.raw_thresholds = nn.Parameter(_even([kinds[i].levels for i in own["ordinal"]]))

    def _hold(self, name: str, values: Any, dtype: torch.dtype = torch.int64) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    @property
    def params_shape(self) -> tuple[int, ...]:
        """All parameters of a datum, in one vector."""
        return (self.num_params,)

    def forward(self, params: Tensor) -> Any:
        """Parameters `(..., num_params)` to a distribution over `(columns,)`."""
        eta, raw, binary, category, ordinal = params.split(self.sizes, -1)
        parts: dict[str, Any] = {}
        if sum(self.numbers):
            sigma = self.scale(*([raw] if self.scale.num_params else [])).expand(eta.shape)
            loc, scale = self.location + self.spread * eta, self.spread * sigma
            locs, scales = loc.split(self.numbers, -1), scale.split(self.numbers, -1)
            parts["real"] = dist.Normal(locs[0], scales[0], validate_args=False)
            parts["positive"] = dist.LogNormal(locs[1], scales[1], validate_args=False)
            parts["count"] = NegativeBinomialLog(locs[2], -2 * sigma[..., sum(self.numbers[:2]) :].log())
        parts["binary"] = self._levels("binary", torch.stack([torch.zeros_like(binary), binary], -1))
        if "category" in self.kinds:
            parts["category"] = self._levels("category", category[..., self.category_index])
        if "ordinal" in self.kinds:
            parts["ordinal"] = self._levels("ordinal", self._cumulative(ordinal))
        places = {kind: getattr(self, f"{kind}_places") for kind in self.kinds}
        return Columns({kind: parts[kind] for kind in self.kinds}, places, self.order).to_event(1)

    def _levels(self, kind: str, logits: Tensor) -> Levels:
        count = getattr(self, f"{kind}_count")
        lacking = torch.arange(logits.shape[-1], device=logits.device) >= count[:, None]
        return Levels(logits.masked_fill(lacking, -torch.inf), count)

    @property
    def thresholds(self) -> Tensor:
        """θ of ordinal columns, increasing, `(columns, most levels − 1)`; those that a column lacks mean nothing."""
        first, gaps = self.raw_thresholds[:, :1], positive(self.raw_thresholds[:, 1:])
        return torch.cat([first, first + gaps.cumsum(-1)], -1)

    def _cumulative(self, eta: Tensor) -> Tensor:
        """Log P(x = r) of each level, `(..., columns, most)`: log(logistic(b) − logistic(a)) without loss of digits."""
        theta = self.thresholds - eta[..., None]
        top = (self.get_buffer("ordinal_count") - 2)[:, None]  # the threshold below the last level
        at = torch.arange(theta.shape[-1], device=eta.device)
        below = F.pad(F.logsigmoid(theta).masked_fill(at > top, 0.0), (0, 1))  # of x ≤ r; of the last level certain
        above = F.pad(F.logsigmoid(-theta), (1, 0))  # of x > r − 1; of the first level certain
        gaps = positive(self.raw_thresholds[:, 1:])
        inner = torch.log(-torch.expm1(-gaps)).masked_fill(at[1:] > top, 0.0)
        return below + above + F.pad(inner, (1, 1))

    def initial_bias(self) -> Tensor:
        """Zeros, at which numbers have the training mean; of binary columns the logit of theirs."""
        bias = torch.zeros(self.num_params)
        start = sum(self.sizes[:1])
        bias[start : start + self.sizes[1]] = self.scale.start
        if self.mean is not None and "binary" in self.kinds:
            start += self.sizes[1]
            means = self.mean[self.get_buffer("binary_places").cpu()].to(bias)
            bias[start : start + self.sizes[2]] = means.clamp(1e-3, 1 - 1e-3).logit()
        return bias


_CODES = ("binary", "category", "ordinal")


def _even(levels: list[int]) -> Tensor:
    """Raw thresholds at which all levels of a column are as probable, at η = 0."""
    most = max(levels)
    raw = torch.full((len(levels), most - 1), inverse_softplus(1.0))
    for row, k in zip(raw, levels, strict=True):
        theta = (torch.arange(1, k) / k).logit()
        row[0] = theta[0]
        row[1 : k - 1] = theta.diff().expm1().log()
    return raw
