"""Sample sites whose distribution is not one of Pyro's."""

from typing import Any

from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.broadcast_messenger import BroadcastMessenger
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import Distribution

from ppl_vae.distributions.adapted import adapted
from ppl_vae.errors import CheckError


class Adapters(Messenger):
    """Gives each site Pyro's form of its distribution: one of torch, a flow of zuko, and what Pyro wraps these in.

    Plates expand distributions of Pyro alone: what a site has of another library is expanded here.

    Raises:
        CheckError: the site has a network where it needs the distribution that the network returns.
    """

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if isinstance(fn, nn.Module) and not hasattr(fn, "log_prob"):
            raise CheckError(
                f"Got a network ({type(fn).__name__}) as the distribution of site {msg['name']!r}, expected the "
                f"distribution that it returns: call it, pyro.sample({msg['name']!r}, flow()), or flow(features) where "
                "it is conditional."
            )
        own = adapted(fn)
        if own is fn:
            return
        msg["fn"] = own
        if isinstance(fn, Distribution) and not isinstance(fn, TorchDistributionMixin):
            BroadcastMessenger._pyro_sample(msg)
