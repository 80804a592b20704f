"""The common part of all likelihoods: the support they accept and the bias a decoder starts from."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from ppl_vae.errors import DataError
from ppl_vae.nn.features import DataSpec

REMEDY = {
    "binary": "likelihood=bernoulli",
    "integers": "likelihood=discretized_logistic, categorical or binomial",
    "counts": "likelihood=negative_binomial, zinb or poisson",
    "unit": "likelihood=continuous_bernoulli, beta or normal, or binarize with dataset.binarization=dynamic",
    "positive": "likelihood=gamma, log_normal or normal",
    "real": "likelihood=normal, student_t or laplace",
    "mixed": "likelihood=mixed",
}
"""The likelihoods that fit each support."""


class Likelihood(ABC, nn.Module):
    """p(x | parameters) for one dataset: refuses a support that its density does not fit.

    A convenience, not a requirement: any module that has `num_params` and whose forward takes
    `(..., num_params, *shape)` to a distribution with event shape `shape` is a likelihood. One whose elements have
    different numbers of parameters says `params_shape`.

    Args:
        spec: the dataset's spec.

    Raises:
        DataError: the data's support is not among `accepts`.
    """

    accepts: ClassVar[tuple[str, ...]]
    num_params: int

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        if spec.support not in self.accepts:
            raise DataError(
                f"{type(self).__name__} is a density over {' or '.join(self.accepts)} data, "
                f"but this dataset's support is {spec.support!r}. Use likelihood=auto, or "
                f"{REMEDY.get(spec.support, 'a likelihood of your own')}."
            )
        self.shape = tuple(spec.shape)
        # Only the first bias of a fresh decoder needs the mean: it is neither saved nor moved.
        self.mean = None if spec.mean is None else spec.mean.detach().cpu().double()

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of the parameters of one datum."""
        return (self.num_params, *self.shape)

    @abstractmethod
    def forward(self, params: Tensor) -> Any:
        """p(x | params): parameters `(..., num_params, *shape)` to a distribution with event shape `shape`."""

    def split(self, params: Tensor) -> tuple[Tensor, ...]:
        """Parameters `(..., num_params, *shape)` as `num_params` tensors `(..., *shape)`."""
        return params.unbind(-1 - len(self.shape))

    def initial_bias(self) -> Tensor | None:
        """Decoder output `(num_params, *shape)` at which E[x] is the training mean; None if unknown."""
        return None if self.mean is None else self.inverse_link(self.mean)

    def inverse_link(self, mean: Tensor) -> Tensor | None:
        """Decoder output `(num_params, *shape)` whose distribution has about this mean `(*shape)`."""
        return None
