"""Draws the latent sites of a guide as their estimators want them, and leaves names and distributions alone."""

from collections.abc import Callable, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from ppl_vae.estimators.particle_axes import ParticleAxes


class Draw(Messenger):
    """Sets the value of each latent site to its estimator's draw.

    Args:
        estimators: An estimator per site.
        place: From a site's stack of plates and its name to where particles and data lie in its draw.
        shared: Tells the sites of which all particles share one draw (global ones, in nested bounds).
        values: Values to use in place of draws.
        redraw: Draw where a value is given, too, so that the generator goes on as if it were not.
    """

    def __init__(
        self,
        estimators: Mapping[str, Any],
        place: Callable[[Any], ParticleAxes],
        shared: Callable[[Any], bool] = lambda msg: False,
        values: Mapping[str, Tensor] | None = None,
        redraw: bool = False,
    ) -> None:
        super().__init__()
        self.estimators = estimators
        self.place = place
        self.shared = shared
        self.values = values or {}
        self.redraw = redraw

    def _pyro_sample(self, msg: Any) -> None:
        if msg["done"] or msg["is_observed"] or msg["value"] is not None or site_is_subsample(msg):
            return
        name = msg["name"]
        estimator: Any = self.estimators.get(name)
        given = self.values.get(name)
        if estimator is not None and estimator.enumerates:
            msg["infer"]["enumerate"] = "parallel"  # for the messenger outside this one
            return
        msg["infer"].pop("enumerate", None)
        if given is None and estimator is None:
            return
        if given is None or self.redraw:
            place = self.place(msg)
            value = estimator.draw(msg["fn"], place)
        if given is not None:
            value = given
        elif self.shared(msg):
            value = place.share_particles(value, msg["fn"].event_dim)
        msg["value"] = value
        msg["done"] = True


class Mark(Messenger):
    """Marks the sites of a model that the user's estimators enumerate."""

    def __init__(self, estimators: Mapping[str, Any]) -> None:
        super().__init__()
        self.estimators = estimators

    def _pyro_sample(self, msg: Any) -> None:
        estimator = self.estimators.get(msg["name"])
        if estimator is not None and estimator.enumerates and not (msg["done"] or msg["is_observed"]):
            msg["infer"]["enumerate"] = "parallel"
