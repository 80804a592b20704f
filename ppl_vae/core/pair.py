"""A VAE is a pair of ordinary Pyro programs: a model p(x, z) and a guide q(z | x)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppl_vae.core.adapters import Adapters
from ppl_vae.core.functional import call_with
from ppl_vae.core.observed import Missing
from ppl_vae.core.programs import FunctionProgram, Parameters, SizedPlates, allow_local_params, as_module
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.estimators.base import Estimator, require_kind
from ppl_vae.nn.formerly import present_names


class VAE(nn.Module):
    """A generative `model` p(x, z) and a variational `guide` q(z | x), each any Pyro program, unchanged.

    The pair owns the parameters and buffers of both: they are in `parameters()`, `state_dict()` and `.to(device)`, and
    Pyro's global store is neither read nor changed. Programs that create parameters when first run
    (`pyro.param`, autoguides) have them after [`prepare`][ppl_vae.core.run.prepare] or any call on a batch.

    Args:
        model: Called as `model(*batch)`; its observed sites are the data.
        guide: Called as `guide(*batch)`, the same signature.
        estimators: A gradient estimator per site of the guide, by name; `"*"` stands for all others. By default each
            site takes what its distribution allows: pathwise, enumeration, score function, in this order.
        data_plate: The name of the plate over data. By default it is found: the one whose size follows the batch's.

    Example:
        >>> import pyro, torch, ppl_vae as pv
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", x.shape[0]):
        ...         z = pyro.sample("z", dist.Normal(0., 1.))
        ...         pyro.sample("x", dist.Normal(z, 1.), obs=x)
        >>> def guide(x):
        ...     scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        ...     with pyro.plate("data", x.shape[0]):
        ...         pyro.sample("z", dist.Normal(x / 2, scale))
        >>> vae = pv.VAE(model, guide)
        >>> pv.terms(vae, (torch.randn(5),), particles=3).log_weights.shape
        torch.Size([3, 5])
    """

    __told__ = "a pair: pv.VAE(model, guide)"

    __found_out__ = ("prepared", "moving", "reference_batch", "_awaited", "_ran")
    """Attributes that hold what was learnt of the programs when they ran, and that tell nothing new of them."""

    @checked
    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *,
        estimators: Mapping[str, Any] | None = None,
        data_plate: str | None = None,
    ) -> None:
        super().__init__()
        self.model = as_module(model)
        self.guide = as_module(guide)
        self.params = Parameters()
        self.data_plate = data_plate
        self.estimators = _named(estimators)
        # Baselines and temperatures are parameters and buffers of the pair.
        self.estimator_modules = nn.ModuleDict(
            {re.sub(r"\W", "_", n): e for n, e in self.estimators.items() if isinstance(e, nn.Module)}
        )
        self.prepared: dict[Any, Any] = {}  # what `prepare` learnt, under all that it depends on
        self.moving: set[str] = set()  # attributes that the programs change as they run
        self.reference_batch: tuple[Any, ...] | None = None  # the first data that the pair has seen
        self._awaited: dict[str, Tensor] = {}
        self._ran: set[str] = set()
        self.register_load_state_dict_pre_hook(_await)

    def forward(self, program: str, *batch: Any) -> Any:
        """Run `"model"` or `"guide"` on a batch, with the pair's own parameters."""
        try:
            with self.params.owned(), SizedPlates(), Missing(), Adapters():
                result = getattr(self, program)(*batch)
        except Exception:
            _forget_plates(self)
            raise
        if self.params.found:
            self._adopt_found(program)
        self._ran.add(program)
        if self._awaited:
            self._fill()
        return result

    def run_model(self, *batch: Any) -> Any:
        """`model(*batch)`, a Pyro program that any handler can wrap."""
        return self("model", *batch)

    def run_guide(self, *batch: Any) -> Any:
        """`guide(*batch)`, a Pyro program that any handler can wrap."""
        return self("guide", *batch)

    def _adopt_found(self, program: str) -> None:
        holder = getattr(self, program)
        if isinstance(holder, FunctionProgram):
            for name, module in self.params.found.items():
                holder.adopt(name, module)
                allow_local_params(module)
        self.params.found.clear()

    def _fill(self) -> None:
        """Give parameters that a first run has made the values of a state that was loaded before it."""
        mine = self.state_dict(keep_vars=True)
        with torch.no_grad():
            for name in self._awaited.keys() & mine.keys():
                mine[name].copy_(self._awaited.pop(name))
        if self._awaited and self._ran == {"model", "guide"}:
            left, self._awaited = sorted(self._awaited), {}
            raise CheckError(
                f"Got a state that holds {left}, which the pair does not have, expected its own: it is another pair's."
            )

    def detached_guide(self) -> Callable[..., Any]:
        """The guide with every parameter a constant for autograd: gradients flow through values only."""
        constants = {id(p): p.detach() for p in self.parameters()}
        return lambda *batch: call_with(self, constants, "guide", *batch)

    def sharing(self, estimators: Mapping[str, Any]) -> "VAE":
        """A pair of the same programs, parameters and buffers with other estimators."""
        other = VAE(self.model, self.guide, estimators=estimators, data_plate=self.data_plate)
        other.params, other.reference_batch = self.params, self.reference_batch
        other._ran |= self._ran
        return other.train(self.training) if self.training != other.training else other

    @property
    def device(self) -> torch.device:
        """The device of the first parameter or buffer, else the CPU."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")

    def _repr_html_(self) -> str:
        from ppl_vae.core.overview import overview

        return overview(self).html()

    def extra_repr(self) -> str:  # noqa: D102
        return ", ".join(f"{site}={estimator!r}" for site, estimator in self.estimators.items())


def _named(estimators: Any) -> dict[str, Estimator]:
    """Estimators by site.

    Raises:
        ArgumentError: no mapping, or what is no estimator.
    """
    if estimators is None:
        return {}
    if not isinstance(estimators, Mapping):
        raise ArgumentError(
            f"Got estimators={estimators!r:.60}, expected a mapping from sites to estimators. Write "
            "estimators={'z': pv.estimators.Pathwise()}, or {'*': …} for all sites."
        )
    for name, estimator in estimators.items():
        require_kind(estimator, Estimator, f"the estimator of site {name!r}", "pv.estimators.Pathwise()")
    return dict(estimators)


def _await(vae: VAE, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Keep what belongs to parameters that the programs make when they first run."""
    vae._awaited.clear()
    present_names(vae, state, prefix)
    if vae._ran != {"model", "guide"}:
        known = vae.state_dict().keys()
        for key in [k for k in state if k.startswith((f"{prefix}model.", f"{prefix}guide."))]:
            name = key.removeprefix(prefix)
            if name not in known:
                vae._awaited[name] = state.pop(key)


def _forget_plates(vae: VAE) -> None:
    """An EasyGuide keeps its plates until its run ends, and would use them in the run after one that failed."""
    for module in vae.modules():
        if any(c.__name__ == "EasyGuide" for c in type(module).__mro__):
            module.plates.clear()  # type: ignore[operator, union-attr]
