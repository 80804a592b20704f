"""Where the guide puts the latents of each datum, and how widely."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.core.data import take_data
from ppl_vae.core.series import seen
from ppl_vae.core.tiles import Block, blocks, first_data, inference, plan
from ppl_vae.display import Displayed, View, shape_of
from ppl_vae.doors import checked
from ppl_vae.errors import ArgumentError, CheckError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.site import Site


ROUNDING = 1e3
"""By so many ε two runs of one guide may differ: where particles lie in a matrix, its products round otherwise."""


@dataclass(frozen=True, repr=False)
class Code(Displayed):
    """The guide's word on one latent of each datum.

    Attributes:
        loc: E_q[z | x], `(data, *shape)`.
        scale: the standard deviation of q(z | x) of each element, as `loc`.
        is_exact: true where both are the guide's own numbers; else they are averages over draws.
    """

    loc: Tensor
    scale: Tensor
    is_exact: bool

    def _view(self) -> View:
        how = "the guide's own numbers" if self.is_exact else "averages over draws"
        return View(f"Code({shape_of(self.loc)}, {how})")


@checked
def encode(
    vae: "VAE",
    data: Any,
    *,
    num_particles: int = 64,
    memory: int | str = "1GB",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Code]:
    r"""Give mean and standard deviation of q(z | x) of every latent in the data plate, datum by datum.

    They are the guide's own where q(z | x) is one distribution that knows them. Where it is a mixture over other draws
    h (other latents of a hierarchy, an auxiliary site, a latent that all data share), with m(h), v(h) the mean and
    variance of the site given those,

    $$\mathrm{loc} = \mathbb E\, m(h), \qquad \mathrm{scale}^2 = \mathbb E\, v(h) + \mathrm{Var}\, m(h)$$

    over `num_particles` draws: only what is not known is drawn (Rao and Blackwell). A distribution without moments,
    such as a flow, counts with the values that it draws.

    A category has the probabilities of its values as `loc`, `(data, categories)`. A step of a series of sites that the
    model masks (after the end of a sequence) is no part of the posterior: NaN.

    Args:
        vae: the pair.
        data: a `Split`, a tensor `(data, …)` or a tuple of them.
        num_particles: draws per datum, where the guide does not say.
        memory: upper limit of the working memory.
        seed: of the draws; the caller's random state is untouched.
        progress: called with the number of data done and of all data.

    Returns:
        A `Code` by the name of the site, in the order of the guide.

    Raises:
        CheckError: if the pair has no data plate, or no latent in it.
        DataError: for data that `ppl_vae.core.data` refuses.

    >>> import torch, ppl_vae as pv, pyro, pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     with pyro.plate("data", x.shape[0]):
    ...         pyro.sample("z", dist.Normal(x / 2, 0.5))
    >>> encode(pv.VAE(model, guide), torch.tensor([0.0, 1.0]))["z"].loc
    tensor([0.0000, 0.5000])
    """
    if num_particles < 2:
        raise ArgumentError(f"Got num_particles={num_particles}, expected at least 2, of which a spread can be taken.")
    split = take_data(vae, data)
    first = first_data(vae, split)
    parts: dict[str, list[Code]] = {}
    with inference(vae, first) as draw:
        if not _latents(draw(first)):
            raise CheckError(
                "The pair has no latent in the data plate, so no datum has a code. Latents that all data share are in "
                "pv.posterior."
            )
        tiling = plan(vae, first, len(split), num_particles, memory, seed)
        for block in blocks(vae, split, tiling, progress):
            for name, code in _codes(draw, block, num_particles).items():
                parts.setdefault(name, []).append(code)
    return {
        name: Code(
            torch.cat([code.loc for code in codes]),
            torch.cat([code.scale for code in codes]),
            all(code.is_exact for code in codes),
        )
        for name, codes in parts.items()
    }


def _latents(t: Any) -> dict[str, "Site"]:
    """The latents of a datum that the guide draws: sites of both programs."""
    return {name: site for name, site in t.latents.items() if site.is_local and name in t.model}


def _codes(draw: Callable[..., Any], block: Block, num_particles: int) -> dict[str, Code]:
    """The codes of one block: exact for sites that depend on no other, and are the same in two draws."""
    t = draw(block.batch, 2)
    above = t.prepared.plates.above
    codes = {name: _Moments(mixed=bool(above.get(name))).update(site).code() for name, site in _latents(t).items()}
    masked = {name: seen(t, name)[0].isnan().cpu() for name in codes if t.model[name].is_masked}
    mixtures: dict[str, _Moments] = {}
    for _, chunk in [] if all(code.is_exact for code in codes.values()) else block.chunks(num_particles):
        for name, site in _latents(draw(block.batch, chunk)).items():
            mixtures.setdefault(name, _Moments(mixed=True)).update(site)
    found = {name: code if code.is_exact else mixtures[name].code() for name, code in codes.items()}
    return {name: code if name not in masked else _hidden(code, masked[name]) for name, code in found.items()}


def _hidden(code: Code, masked: Tensor) -> Code:
    """A code with NaN where its latent is masked; that of a category has an axis more than its values."""
    masked = masked.reshape(masked.shape + (1,) * (code.loc.dim() - masked.dim()))
    return Code(code.loc.where(~masked, torch.nan), code.scale.where(~masked, torch.nan), code.is_exact)


class _Moments:
    """Running mean and variance of a mixture, of the mean and variance of its components."""

    def __init__(self, *, mixed: bool) -> None:
        self.count, self.mixed, self.dtype = 0, mixed, torch.get_default_dtype()
        self.start = self.mean = self.square = self.variance = torch.zeros(())

    def update(self, site: "Site") -> "_Moments":
        """Take the particles of a site."""
        found = site.moments()
        value = site.value if found is None else found[0]
        self.dtype = value.dtype if value.is_floating_point() else self.dtype
        mean = value.double()
        variance = torch.zeros_like(mean) if found is None else found[1].double()
        if self.count == 0:
            self.start = mean[0]
        off = mean - self.start
        rounding = ROUNDING * torch.finfo(self.dtype).eps
        apart = (off.abs() > rounding * (self.start.abs() + variance[0].sqrt())).any()
        apart |= ((variance - variance[0]).abs() > rounding * variance[0]).any()
        self.mixed = self.mixed or found is None or bool(apart)
        self.mean = self.mean + off.sum(0)
        self.square = self.square + off.square().sum(0)
        self.variance = self.variance + variance.sum(0)
        self.count += len(mean)
        return self

    def code(self) -> Code:
        """Mean and standard deviation of all that were taken."""
        if not self.mixed:
            return Code(*self._on_cpu(self.start, self.variance / self.count), is_exact=True)
        off = self.mean / self.count
        between = (self.square / self.count - off.square()).clamp(min=0) * self.count / (self.count - 1)
        return Code(*self._on_cpu(self.start + off, self.variance / self.count + between), is_exact=False)

    def _on_cpu(self, loc: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        return loc.to(self.dtype).cpu(), variance.sqrt().to(self.dtype).cpu()
