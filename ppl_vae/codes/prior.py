"""A prior fitted after training, to the codes of the data: what was trained without one generates."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_vae.codes.densities import (
    Fitted,
    fit_autoregressive,
    fit_categorical,
    fit_flow,
    fit_mixture,
    mean_log_prob,
)
from ppl_vae.core.data import take_data
from ppl_vae.core.programs import FunctionProgram
from ppl_vae.core.tiles import blocks, first_data, inference, plan
from ppl_vae.datasets.several import parts_of
from ppl_vae.display import Displayed, View
from ppl_vae.display import number as shown
from ppl_vae.distributions.codes import Codes
from ppl_vae.distributions.improper import Flat
from ppl_vae.distributions.unwrap import elements, innermost, support_of
from ppl_vae.distributions.vector_quantized import StraightThrough
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, CheckError, DataError, one_of

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.datasets import Dataset

FittedName = Literal["normal", "mixture", "flow", "categorical", "autoregressive"]
"""Priors that are fitted after training."""


@dataclass(frozen=True, repr=False)
class FittedPrior(Displayed):
    """A prior fitted to codes, and the pair that has it; nats per datum.

    Attributes:
        vae: a new pair: guide and likelihood as they were, the new prior in the model.
        site: of the latent.
        prior: the module that gives p(z).
        target: dotted name and arguments of its class, as a config says them.
        train: mean of log p(z) over codes of the training data.
        validation: the same of the validation data.
        before: the same of the prior that was there; None where it was improper.
        tried: the validation data's of all that was tried, by what it was.
    """

    vae: "VAE"
    site: str
    prior: nn.Module
    target: dict[str, Any]
    train: float
    validation: float
    before: float | None
    tried: dict[str, float]

    def __str__(self) -> str:
        before = "improper" if self.before is None else shown(self.before)
        return (
            f"prior of {self.site}: {self._named()}\n"
            f"log p(z) of validation codes: {self.validation:.3f}, before {before}; of training codes {self.train:.3f}"
        )

    def _view(self) -> View:
        before = [("before", None if self.before is None else float(self.before))]
        rows = [*before, *((f"tried: {name}", float(value)) for name, value in self.tried.items())]
        return View(
            f"FittedPrior({self.site}: {self._named()})",
            ("", "log p(z) of validation codes, nats per datum"),
            [("this one", float(self.validation)), *rows],
            [f"of training codes {shown(float(self.train))}"],
        )

    def _named(self) -> str:
        arguments = ", ".join(f"{k}={shown(v)}" for k, v in self.target.items() if k != "_target_")
        return f"{type(self.prior).__name__}({arguments})"


@checked
def fit_prior(
    vae: "VAE",
    data: "Dataset",
    prior: FittedName = "mixture",
    *,
    site: str | None = None,
    at: str = "prior",
    components: int | None = None,
    draws: int = 4,
    epochs: int = 200,
    memory: int | str = "1GB",
    seed: int = 0,
) -> FittedPrior:
    r"""Fit p(z) to the codes of the training data, z ~ q(z | x), by maximum likelihood, and give a pair that has it.

    $$\max_p \frac1n \sum_i \mathbb E_{q(z \mid x_i)} \log p(z)$$

    is the part of the ELBO in which the prior stands: what it gains, the ELBO gains, and nothing else in it changes. It
    lets a pair generate that was trained without a prior (an autoencoder) or whose codes do not fill theirs. Numbers of
    components and of epochs are chosen by the codes of the validation data. The pair that is given stays as it is.

    `normal` is one normal with a full covariance, `mixture` several, both by EM; `flow` is a standard normal sent
    through coupling layers, by gradient. Of quantized codes (`pv.models.Quantized`), `categorical` has independent
    elements, `autoregressive` a masked network that sees the elements before.

    A model of your own takes the prior of the site from a module that is called without arguments, and is named here:
    `self.prior = pv.nn.StandardNormal(2)`, and `pyro.sample("z", self.prior())` in `forward`. Ready-made models with
    one latent have it.

    Args:
        vae: the pair.
        data: with training and validation data.
        prior: its kind.
        site: the latent; None where there is one.
        at: attribute of the model that gives the prior, dotted if it lies deeper.
        components: of a mixture; None chooses by validation.
        draws: codes a datum; a guide without noise has one.
        epochs: of a gradient fit, at most.
        memory: upper limit of the working memory.
        seed: of draws and fits; the caller's random state is untouched.

    Raises:
        CheckError: if the model does not take the prior of the site from such a module.
        ArgumentError: for a name or number that cannot be meant.
        DataError: without validation data.

    References:
        Ghosh et al. (2020), From Variational to Deterministic Autoencoders, https://arxiv.org/abs/1903.12436

    Example:
        >>> import ppl_vae as pv
        >>> data = pv.datasets.load("digits")
        >>> model = pv.models.Autoencoder(data.spec, latent_dim=2, hidden=[8])
        >>> vae = pv.VAE(model, pv.guides.Deterministic(data.spec, model, hidden=[8]))
        >>> fitted = pv.fit_prior(vae, data, "mixture", components=3)
        >>> pv.generate(fitted.vae, 5, like=data.test[:2]).shape, fitted.target
        (torch.Size([5, 1, 8, 8]), {'_target_': 'ppl_vae.nn.FullMixturePrior', 'dim': 2, 'components': 3})
    """
    one_of("prior", prior, get_args(FittedName))
    for name, number in {"components": components, "draws": draws, "epochs": epochs}.items():
        if number is not None and number < 1:
            raise ArgumentError(f"Got {name}={number}, expected a whole number of at least 1.")
    if components is not None and prior != "mixture":
        raise ArgumentError(f"Got components={components}, expected none for prior={prior!r}: they are of a mixture.")
    if len(data.validation) == 0:
        raise DataError(
            "Got no validation data, expected some, by which the prior is chosen: set a share of the data aside "
            "(dataset.validation=0.1, pv.datasets.from_arrays(…, validation=0.1))."
        )
    name = _site(vae, data, site)
    refuse_no_place(vae.model, at)
    codes = _codes(vae, data.train, name, draws, memory, seed)
    held_out = _codes(vae, data.validation, name, draws, memory, seed + 1)
    _refuse_support(name, prior, codes)
    given = {"components": components, "epochs": epochs, "seed": seed, "levels": codes.levels, "named": codes.named}
    fitted = FITS[prior](codes.z, held_out.z, **given)
    module = fitted.module.eval().requires_grad_(True)
    new = copy.deepcopy(vae, {id(vae.prepared): {}})
    put_prior(new.model, at, module)
    _verify(new, data, name, at, module)
    target = {"_target_": f"ppl_vae.nn.{type(module).__name__}", **fitted.arguments}
    train = mean_log_prob(module, codes.z)
    return FittedPrior(new, name, module, target, train, fitted.held_out, held_out.before, fitted.tried)


FITS: dict[str, Callable[..., Fitted]] = {
    "normal": lambda z, held_out, *, seed, **_: fit_mixture(z, held_out, 1, seed),
    "mixture": lambda z, held_out, *, components, seed, **_: fit_mixture(z, held_out, components, seed),
    "flow": lambda z, held_out, *, epochs, seed, **_: fit_flow(z, held_out, epochs, seed),
    "categorical": lambda z, held_out, *, levels, **_: fit_categorical(z, held_out, levels),
    "autoregressive": lambda z, held_out, *, levels, epochs, seed, named, **_: fit_autoregressive(
        z, held_out, levels, epochs, seed, (False,) if named else (True, False)
    ),
}
"""How each is fitted to codes and held-out ones."""


def refuse_no_place(model: nn.Module, at: str) -> None:
    """Refuse a model without a module, or a function, of that name.

    Raises:
        CheckError: naming what to write instead.
    """
    place: Any = model
    kind = "that is a function" if isinstance(model, FunctionProgram) else f"({type(model).__name__})"
    for part in at.split("."):
        place = getattr(place, part, None)
    if not callable(place):
        raise CheckError(f"Got a model {kind} without a module {at!r}, expected one {_WRITE}")
    try:
        with torch.no_grad():
            given = place()
    except TypeError:
        given = None
    if not hasattr(given, "log_prob"):
        raise CheckError(
            f"Got a model {kind} whose {at!r} gives no distribution when it is called without "
            f"arguments, expected a module {_WRITE}"
        )


_WRITE = (
    "that gives the prior: write self.prior = pv.nn.StandardNormal(2) in the model's constructor and "
    "pyro.sample('z', self.prior()) in its forward; or name where it is (at=…)."
)


def put_prior(model: nn.Module, at: str, module: nn.Module) -> None:
    """Let a model take a prior from another module.

    Args:
        model: is changed.
        at: dotted name of the attribute.
        module: what is put there.
    """
    refuse_no_place(model, at)
    *parents, last = at.split(".")
    owner: Any = model
    for part in parents:
        owner = getattr(owner, part)
    setattr(owner, last, module)


def _site(vae: "VAE", data: "Dataset", site: str | None) -> str:
    """The latent whose prior is fitted."""
    first = first_data(vae, take_data(vae, parts_of(data.train)[0]))
    with inference(vae, first) as draw:
        t = draw(first)
    found = [name for name, s in t.latents.items() if s.is_local and name in t.model and not _follows(t.model[name])]
    if site is None and len(found) != 1:
        raise ArgumentError(
            f"Got a pair with {len(found)} latents in the data plate ({', '.join(found) or 'none'}), expected one, or "
            "the name of one (site=…)."
        )
    name = found[0] if site is None else one_of("site", site, found)
    if t.model[name].plates or t.model[name].fn.event_dim != 1:
        raise CheckError(
            f"Got a prior of {name!r} with events of {t.model[name].fn.event_dim} axes and the further plates "
            f"{list(t.model[name].plates)}, expected a vector for each datum: .to_event(1), in the data plate alone."
        )
    return name


def _follows(site: Any) -> bool:
    """True for a site of the model that is a function of others."""
    return isinstance(elements(site.fn), dist.Delta)


@dataclass(frozen=True)
class _Codes:
    z: Tensor
    before: float | None
    support: Any
    levels: tuple[int, ...] | None
    named: bool


def _codes(vae: "VAE", data: Any, name: str, draws: int, memory: int | str, seed: int) -> _Codes:
    """Draws of a latent, `(draws * data, *event)`, and the mean log density that the present prior gives them."""
    values: list[Tensor] = []
    total = 0.0
    for part in parts_of(data):
        split = take_data(vae, part)
        first = first_data(vae, split)
        with inference(vae, first) as draw:
            t = draw(first, 2)
            prior, twice = t.model[name].fn, t.latents[name].value
            each = 1 if bool((twice[0] == twice[1]).all()) else draws
            for block in blocks(vae, split, plan(vae, first, len(split), each, memory, seed)):
                for _, chunk in block.chunks(each):
                    t = draw(block.batch, chunk)
                    values.append(t.latents[name].value.flatten(0, 1))
                    total += float(t.model[name].log_prob.double().sum())
    z = torch.cat(values)
    kind = innermost(prior)
    before = None if isinstance(kind, Flat) else total / len(z)
    named = any(isinstance(elements(s.fn), StraightThrough) for s in t.latents.values())
    return _Codes(z, before, support_of(prior), kind.levels if isinstance(kind, Codes) else None, named)


def _refuse_support(name: str, prior: str, codes: _Codes) -> None:
    support, own = codes.support, (prior in ("categorical", "autoregressive"))
    if own != (codes.levels is not None):
        kinds = "quantized codes" if own else "reals"
        here = "quantized: 'autoregressive' or 'categorical'" if codes.levels else "not quantized: such as 'mixture'"
        raise CheckError(f"Got prior={prior!r}, which is over {kinds}, expected one for the latent {name!r}, {here}.")
    if own:
        return
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support is not constraints.real:
        raise CheckError(
            f"Got the latent {name!r}, which does not range over all reals ({support}), expected one that does for "
            f"prior={prior!r}, whose draws go everywhere."
        )


def _verify(vae: "VAE", data: "Dataset", name: str, at: str, module: nn.Module) -> None:
    """Refuse a model that does not take the prior of the site from where it was put.

    Raises:
        CheckError: naming the fix.
    """
    first = first_data(vae, take_data(vae, parts_of(data.train)[0]))
    with inference(vae, first) as draw:
        site = draw(first, 2).model[name]
        expected = module().log_prob(site.value)
        same = site.log_prob.shape == expected.shape and torch.allclose(site.log_prob, expected, 1e-3, 1e-3)
    if not same:
        raise CheckError(
            f"Got a model whose prior of {name!r} is not what its {at!r} gives, expected "
            f"pyro.sample({name!r}, self.{at}()) in its forward, alone and without scale or mask; or name where the "
            "prior is (at=…)."
        )
