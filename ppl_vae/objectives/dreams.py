"""What the model dreams up, fed back to the guide as a batch."""

from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from pyro.distributions import Unit
from torch import Tensor

from ppl_vae.errors import CheckError
from ppl_vae.layout import sample_sites
from ppl_vae.particles import Runner

if TYPE_CHECKING:
    from ppl_vae.vae import VAE


def dream_log_q(vae: "VAE", batch: tuple[Any, ...]) -> Tensor:
    """The mean over dreams (x', z') ~ p of log q(z' | x'), 0-d, nats per datum; dreams are constants."""
    latents, dream = dreamt(vae, batch)
    guide = Runner(vae, dream).guide(values=latents)[1]
    strangers = sorted(n for n, s in guide.items() if not s.is_observed and n not in latents)
    if strangers:
        raise _refusal(f"the guide also draws {strangers}, which the model does not")
    log_q = [site.term(True) for site in guide.values() if not site.is_observed]
    return torch.stack([term.squeeze(0) for term in log_q]).sum(0).mean()


def dreamt(vae: "VAE", batch: tuple[Any, ...]) -> tuple[dict[str, Tensor], tuple[Any, ...]]:
    """One draw of the model with its observations released: its latent values, and the batch that it would be.

    The argument of the batch that an observed site takes is found by identity (the same memory, seen through any
    view of all of it), else by equal values.

    Raises:
        CheckError: A site takes no argument of the batch, or a part of one, or two take the same one.
    """
    with torch.no_grad(), poutine.uncondition():
        try:
            trace = poutine.trace(vae.run_model).get_trace(*batch)
        except NotImplementedError as error:
            raise _refusal(f"the model cannot be drawn from ({error})") from None
    latents: dict[str, Tensor] = {}
    dream, taken = list(batch), dict[int, str]()
    for name, site in sample_sites(trace).items():
        if isinstance(site["fn"], Unit):
            raise _refusal(f"the model weights its draws by pyro.factor({name!r}), so that they are not its own")
        infer = site["infer"]
        if not infer.get("was_observed"):
            latents[name] = site["value"]
        elif not infer.get("_deterministic"):
            index = _argument(infer["obs"], batch, name)
            if index in taken:
                raise _refusal(f"sites {taken[index]!r} and {name!r} take the same argument of the batch")
            taken[index] = name
            dream[index] = site["value"].reshape(batch[index].shape).to(batch[index].dtype)
    return latents, tuple(dream)


def _argument(obs: Tensor, batch: tuple[Any, ...], name: str) -> int:
    """The position of the argument that a site observes."""
    for i, x in enumerate(batch):
        if x is obs:
            return i
    whole = {i: x for i, x in enumerate(batch) if isinstance(x, Tensor) and x.numel() == obs.numel()}
    for i, x in whole.items():
        if x.untyped_storage().data_ptr() == obs.untyped_storage().data_ptr() and x.data_ptr() == obs.data_ptr():
            return i
    for i, x in whole.items():
        if torch.equal(x.flatten().to(obs.dtype), obs.flatten()):
            return i
    raise _refusal(
        f"site {name!r} observes a tensor of shape {tuple(obs.shape)} that is none of the batch's, whose shapes are "
        f"{[tuple(x.shape) for x in batch if isinstance(x, Tensor)]}"
    )


def _refusal(why: str) -> CheckError:
    return CheckError(
        f"Sleep cannot feed dreams back to the guide: {why}. Give each observed site one whole tensor of the batch "
        "(obs=x), or use WakeSleep(insomnia=1), which learns from the data alone."
    )
