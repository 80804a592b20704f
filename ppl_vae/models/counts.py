"""Counts of many kinds beside each other: proportions from a latent, times a size; scVI's model of single cells."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.errors import DataError, one_of
from ppl_vae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from ppl_vae.models.latent import likelihood_of
from ppl_vae.nn.features import Covariates, DataSpec, arguments_of, covariate, instead_of_counts, require_whole
from ppl_vae.nn.mlp import MLP, Activation, join
from ppl_vae.nn.priors import StandardNormal

Dispersion = Literal["gene", "gene_batch", "gene_cell"]
Library = Literal["observed", "latent"]


class Counts(nn.Module):
    r"""$z \sim \mathrm{Normal}(0, 1)$, $\rho = \mathrm{softmax}(f(z, s))$, $x \sim p(\cdot \mid \ell\rho, r)$.

    p has mean ℓρ and inverse dispersion r: negative binomial, its zero-inflated form, or Poisson. The size ℓ (library
    size, exposure) of a datum is the sum of its counts, at least 1, or what a field of the data says; or it is latent,
    $\log\ell \sim \mathrm{Normal}(m, s)$ with m and s learned, at site log_library. Covariates are all further fields.

    Args:
        spec: the dataset's spec; x is a vector of counts.
        likelihood: `negative_binomial`, `zinb` or `poisson`; None takes the negative binomial.
        latent_dim: size of z.
        hidden: widths of the decoder's hidden layers, from z to x.
        activation: after each of them.
        dispersion: r per `gene` (element of x), per `gene_batch` (gene and category of `batch`), or per `gene_cell` (a
            function of z).
        library: ℓ is `observed` or `latent`.
        exposure: name of the field that is ℓ, above 0; by default the sum of the counts.
        batch: name of the category of `gene_batch`; by default the only one there is.

    Raises:
        DataError: x is no vector of counts, or a field is not there.

    References:
        Lopez et al. (2018), Deep generative modeling for single-cell transcriptomics,
            https://doi.org/10.1038/s41592-018-0229-2

    Example:
        >>> from ppl_vae.datasets.spec import Spec
        >>> model = Counts(Spec((50,), "counts"), latent_dim=2)
        >>> model.proportions(torch.zeros(3, 2)).shape
        torch.Size([3, 50])
    """

    def __init__(
        self,
        spec: DataSpec,
        likelihood: Any = None,
        latent_dim: int = 10,
        hidden: Sequence[int] = (128,),
        activation: Activation = "relu",
        dispersion: Dispersion = "gene",
        library: Library = "observed",
        exposure: str | None = None,
        batch: str | None = None,
    ) -> None:
        super().__init__()
        one_of("dispersion", dispersion, get_args(Dispersion))
        one_of("library", library, get_args(Library))
        likelihood = likelihood_of(spec, NegativeBinomial if likelihood is None else likelihood)
        kinds = (NegativeBinomial, ZeroInflatedNegativeBinomial, Poisson)
        if len(spec.shape) != 1 or not isinstance(likelihood, kinds):
            raise DataError(
                f"model=counts is for vectors of counts with likelihood=negative_binomial, zinb or poisson, got x of "
                f"support {spec.support!r} and shape {spec.shape} with {type(likelihood).__name__}. "
                f"{instead_of_counts(spec)}"
            )
        require_whole(spec, "model=counts, which needs the sum of all counts")
        self.prior = StandardNormal(latent_dim)
        self.latent_dim, self.library, self.likelihood = latent_dim, library, likelihood
        if likelihood.num_params == 1 and dispersion != "gene":
            raise DataError(
                f"Got dispersion={dispersion!r} with {type(likelihood).__name__}, which has no dispersion, expected "
                "likelihood=negative_binomial or zinb; or leave dispersion out."
            )
        self.dispersion = None if likelihood.num_params == 1 else dispersion
        self.data_fields = arguments_of(spec, positive=exposure)
        self.argument_names = tuple(field.name for field in spec.fields)
        self.exposure = None if exposure is None else _place(spec, exposure, "exposure")
        if exposure is not None and library == "latent":
            raise DataError(f"Got exposure={exposure!r} with library='latent', expected one of them.")
        others = [name for name in self.argument_names[1:] if name != exposure]
        self.covariates = Covariates(spec, without=[exposure or ""]) if others else None

        genes, kinds_of_r = spec.shape[0], 1
        self.net = MLP(latent_dim + (self.covariates.out_features if self.covariates else 0), None, hidden, activation)
        width = self.net.out_features
        self.logits = nn.Linear(width, genes)
        if spec.mean is not None:
            mean = spec.mean.detach().float().clamp(min=1e-3 * float(spec.mean.float().mean()) + 1e-12)
            self.logits.bias = nn.Parameter((mean / mean.sum()).log())
        if self.dispersion == "gene_batch":
            self.batch = _category(spec, batch)
            self.codes = covariate(spec, self.batch)
            kinds_of_r = self.codes.classes
        self.log_r = nn.Parameter(torch.zeros(kinds_of_r, genes)) if self.dispersion in ("gene", "gene_batch") else None
        self.log_r_of = nn.Linear(width, genes) if self.dispersion == "gene_cell" else None
        self.gate = nn.Linear(width, genes) if likelihood.num_params == 3 else None
        if library == "latent":
            size = 1.0 if spec.mean is None else float(spec.mean.sum())
            self.log_library_loc = nn.Parameter(torch.tensor([size]).clamp(min=1.0).log())
            self.log_library_log_scale = nn.Parameter(torch.zeros(1))

    def proportions(self, z: Tensor, *given: Tensor) -> Tensor:
        """ρ `(…, genes)` at latents `(…, latent_dim)`, given what follows x in a batch."""
        return self.logits(self._hidden(z, given)).softmax(-1)

    def forward(self, x: Tensor, *given: Tensor) -> None:
        """Counts `(data, genes)`, observed at site x; what is given `(data, …)`; latents `(data, latent_dim)` at z."""
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self.prior())
            h = self._hidden(z, given)
            log_mean = self._log_size(x, given) + self.logits(h).log_softmax(-1)
            parts = [log_mean, self._log_r(h, given), None if self.gate is None else self.gate(h)]
            params = torch.stack(torch.broadcast_tensors(*(part for part in parts if part is not None)), -2)
            pyro.sample("x", self.likelihood(params), obs=x)

    def _hidden(self, z: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        return self.net(z if self.covariates is None else join(z, self.covariates(*given)))

    def _log_size(self, x: Tensor, given: tuple[Tensor, ...]) -> Tensor:
        """Log ℓ `(…, 1)`."""
        if self.library == "latent":
            scale = self.log_library_log_scale.exp()
            return pyro.sample("log_library", dist.Normal(self.log_library_loc, scale).to_event(1))
        size = x.sum(-1).clamp(min=1) if self.exposure is None else given[self.exposure - 1]
        return size.to(self.logits.bias.dtype).log().unsqueeze(-1)

    def _log_r(self, h: Tensor, given: tuple[Tensor, ...]) -> Tensor | None:
        if self.log_r_of is not None:
            return self.log_r_of(h)
        if self.log_r is None:
            return None
        return self.codes(given[self.batch - 1]) @ self.log_r if self.dispersion == "gene_batch" else self.log_r[0]


def _place(spec: DataSpec, name: str, what: str) -> int:
    """The place of a field of numbers by its name."""
    names = [field.name for field in spec.fields]
    if name in names[1:] and covariate(spec, names.index(name)).classes:
        raise DataError(f"Got {what}={name!r}, which is a category, expected the name of a field of numbers above 0.")
    if name not in names[1:] or spec.fields[names.index(name)].shape:
        raise DataError(
            f"Got {what}={name!r}, expected one of {', '.join(names[1:]) or '(no field beside x)'}, of shape (): name "
            f"it in dataset.fields=[{name}]."
        )
    return names.index(name)


def _category(spec: DataSpec, name: str | None) -> int:
    """The place of a category by its name; of the only one without."""
    there = {field.name: i for i, field in enumerate(spec.fields) if i and covariate(spec, i).classes}
    found = next(iter(there), None) if name is None and len(there) == 1 else name
    if found not in there:
        raise DataError(
            f"Got batch={name!r} for dispersion='gene_batch', expected the name of a category of the data: "
            f"{', '.join(there) or 'there is none; name one in dataset.fields=[…], and dataset.categories=[…]'}."
        )
    return there[found]
