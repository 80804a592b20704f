"""Plates that their program gave no size, as in `with pyro.plate("data"):`."""

from typing import Any

from pyro.poutine.messenger import Messenger


class SizedPlates(Messenger):
    """Gives each plate without a size that of its axis in the distribution, so that data can be found along it.

    Pyro lets such a plate stand for any size, and neither expands a distribution nor scales a minibatch by it.
    """

    def _pyro_sample(self, msg: Any) -> None:
        if all(frame.size != -1 for frame in msg["cond_indep_stack"]):
            return
        shape = getattr(msg["fn"], "batch_shape", ())
        msg["cond_indep_stack"] = tuple(
            frame._replace(size=shape[frame.dim], full_size=shape[frame.dim])
            if frame.size == -1 and frame.dim is not None and len(shape) >= -frame.dim
            else frame
            for frame in msg["cond_indep_stack"]
        )
