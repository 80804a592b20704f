"""`ppl_vae.sklearn.VAE`: fit, transform, inverse_transform, score, sample and impute."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ppl_vae import datasets, rng
from ppl_vae.codes.decode import decode
from ppl_vae.codes.encode import Code, encode
from ppl_vae.codes.impute import impute
from ppl_vae.core.generate import generate
from ppl_vae.datasets.spec import Support
from ppl_vae.diagnostics.evaluate import evaluate
from ppl_vae.errors import ArgumentError, CheckError
from ppl_vae.kinds import hints_of, refuse_misfits
from ppl_vae.sklearn.build import build, likelihood_class, support_for
from ppl_vae.training.fit import fit

Array = NDArray[Any]


class VAE(TransformerMixin, BaseEstimator):
    r"""A variational autoencoder as a transformer and density of scikit-learn.

    `transform` gives the guide's means $\mathbb E_q[z \mid x]$, `inverse_transform` the model's means
    $\mathbb E[x \mid z]$, `score` the mean of $\widehat{\log p}(x) = \log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)$
    (Burda et al. 2016), in nats per datum: higher is better. Data are tables `(data, features)`; NaN is a missing
    value, which ready-made pairs mask. They are taken as they are: put a `StandardScaler` before it.

    Args:
        latent_dim: size of z, or sizes of several latents; model and guide are given it if they take it, as `hidden`.
        hidden: widths of hidden layers, from z to x; the guide's are the same in reverse.
        likelihood: p(x | h), a class of `ppl_vae.likelihoods` or its name, such as `"normal"`; None for the one that
            fits the training data's support.
        support: where x lives, see `ppl_vae.datasets.Spec`. None: all reals where the likelihood takes them, else what
            the training data show; held-out data must lie in it, so name it where a fold may not show it all.
        levels: how many integers there are, where the support is `"integers"`.
        shape: of a datum, where it is no row of features: `(1, 28, 28)` for images that come as rows.
        missing: whether values may be missing; None: whether some are in the training data.
        model: a class or function that makes the model, given by name what it takes of `spec`, `latent_dim`, `hidden`
            and `likelihood`; or a module, a copy of which is trained. None for `ppl_vae.models.VAE`.
        guide: the same, given `model`, too. None for `ppl_vae.guides.Amortized`.
        estimators: per site, as in `ppl_vae.VAE`.
        objective: what to maximize; None for the ELBO.
        optimizer: a class of `torch.optim` or function of parameters and `lr`; None for Adam.
        learning_rate: its `lr`.
        scheduler: as in `ppl_vae.fit`.
        epochs: passes through the data.
        batch_size: data per step; at most all.
        validation_fraction: of the training data, set aside to choose the best epoch by; 0 keeps the last.
        early_stopping: stop when the validation bound has not risen for so many epochs.
        ema: decay of the average of the weights that is kept, as in `ppl_vae.fit`.
        compile: as in `ppl_vae.fit`.
        num_particles: K of `score`; draws of `impute`, and of `transform` where the guide does not know its means.
        random_state: of initial weights, order, noise and splits.
        device: where to train and to compute, such as `"cuda"`; None for the CPU.
        verbose: whether to tell how training goes.

    Attributes:
        vae_: the trained pair, for all functions of `ppl_vae`.
        history_: a row per epoch.
        spec_: of the training data.
        seed_: what `random_state` gave.
        n_iter_: epochs that were trained.
        n_features_in_: columns of the training data.
        feature_names_in_: their names, where they have names.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, https://arxiv.org/abs/1509.00519
        Buitinck et al. (2013), API design for machine learning software: experiences from the scikit-learn project,
            https://arxiv.org/abs/1309.0238

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> pipe = make_pipeline(StandardScaler(), VAE(2, likelihood="normal", epochs=5, random_state=0))
        >>> z = pipe.fit_transform(load_iris().data)
        >>> z.shape, pipe.inverse_transform(z).shape, list(pipe.get_feature_names_out())
        ((150, 2), (150, 4), ['z_0', 'z_1'])
    """

    def __init__(
        self,
        latent_dim: int | Sequence[int] = 8,
        *,
        hidden: Sequence[int] = (256,),
        likelihood: Any = None,
        support: Support | None = None,
        levels: int | None = None,
        shape: Sequence[int] | None = None,
        missing: bool | None = None,
        model: Any = None,
        guide: Any = None,
        estimators: Mapping[str, Any] | None = None,
        objective: Any = None,
        optimizer: Any = None,
        learning_rate: float = 1e-3,
        scheduler: Any = None,
        epochs: int = 100,
        batch_size: int = 128,
        validation_fraction: float = 0.0,
        early_stopping: int | None = None,
        ema: float | None = None,
        compile: str = "auto",  # noqa: A002 - the name that torch gave it
        num_particles: int = 64,
        random_state: Any = None,
        device: Any = None,
        verbose: bool = False,
    ) -> None:
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.likelihood = likelihood
        self.support = support
        self.levels = levels
        self.shape = shape
        self.missing = missing
        self.model = model
        self.guide = guide
        self.estimators = estimators
        self.objective = objective
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.scheduler = scheduler
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.ema = ema
        self.compile = compile
        self.num_particles = num_particles
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> VAE:
        """Train a new pair.

        Args:
            X: data `(data, features)`; NaN is a missing value.
            y: not used.

        Returns:
            Itself.

        Raises:
            ArgumentError: parameters of another kind than expected.
            DataError: data outside the support, or missing where nothing masks them.
        """
        refuse_misfits(self.get_params(deep=False), hints_of(type(self).__init__), ArgumentError)
        found = self._checked(X, reset=True)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        names = tuple(map(str, getattr(self, "feature_names_in_", ()))) or None
        likelihood = likelihood_class(self.likelihood)
        data = datasets.from_arrays(
            self._shaped(found),
            validation=self.validation_fraction or None,
            support=support_for(self.support, likelihood),
            levels=self.levels,
            missing=self.missing,
            seed=seed,
            feature_names=None if self.shape else names,
            name="scikit-learn",
            scaling="none",
        )
        device = _device(self.device)
        plain = inspect.signature(type(self).__init__).parameters
        sizes = ("latent_dim", "hidden")
        with rng.forked(device, seed):
            vae = build(
                data.spec,
                model=self.model,
                guide=self.guide,
                likelihood=likelihood,
                estimators=self.estimators,
                plain={name: plain[name].default for name in sizes},
                chosen={name: getattr(self, name) for name in sizes},
            ).to(device)
        history = fit(
            vae,
            data,
            copy.deepcopy(self.objective),
            functools.partial(self.optimizer or torch.optim.Adam, lr=self.learning_rate),
            self.scheduler,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            early_stopping=self.early_stopping,
            ema=self.ema,
            compile=self.compile,
            progress=None if self.verbose else False,
        )
        self.vae_, self.history_, self.spec_, self.seed_ = vae, history, data.spec, seed
        self.n_iter_ = int(history.rows[-1]["epoch"])
        sites = encode(vae, data.train[:1], num_particles=2)
        self._sites = {name: tuple(code.loc.shape[1:]) for name, code in sites.items()}
        return self

    def transform(self, X: Any) -> Array:
        """Give E_q[z | x], `(data, latents)`: all latents of a datum side by side, see `get_feature_names_out`.

        Args:
            X: data `(data, features)`.
        """
        x = self._fitted(X)
        codes = encode(self.vae_, x, num_particles=max(2, self.num_particles), seed=self.seed_)
        return np.concatenate([code.loc.flatten(1).numpy() for code in codes.values()], axis=1)

    def inverse_transform(self, X: Any) -> Array:
        """Give E[x | z], `(data, features)`.

        Args:
            X: latents `(data, latents)`, as `transform` gives them.
        """
        check_is_fitted(self)
        z = np.asarray(X, np.float32)
        widths = [int(np.prod(shape)) for shape in self._sites.values()]
        if z.ndim != 2 or z.shape[1] != sum(widths):
            raise ArgumentError(
                f"Got latents of shape {z.shape}, expected (data, {sum(widths)}): those of {', '.join(self._sites)}, "
                "as transform gives them."
            )
        parts = np.split(z, np.cumsum(widths)[:-1], axis=1)
        locs = {
            name: torch.from_numpy(part.reshape(len(z), *shape).copy())
            for (name, shape), part in zip(self._sites.items(), parts, strict=True)
        }
        latents = {name: Code(loc, torch.zeros_like(loc), is_exact=True) for name, loc in locs.items()}
        return self._rows(decode(self.vae_, latents, seed=self.seed_))

    def score_samples(self, X: Any) -> Array:
        r"""Give $\widehat{\log p}(x)$ of each datum, `(data,)`, in nats.

        Args:
            X: data `(data, features)`.

        Raises:
            CheckError: the pair has no evidence, such as a deterministic autoencoder.
        """
        found = evaluate(self.vae_, self._fitted(X), self.num_particles, seed=self.seed_)
        if found.summary["reason"]:
            raise CheckError(f"The pair has no score: {found.summary['reason']}.")
        return -found.table["nll"].to_numpy()

    def score(self, X: Any, y: Any = None) -> float:
        r"""Give the mean of $\widehat{\log p}(x)$ in nats per datum, the evidence by `num_particles` draws.

        Args:
            X: data `(data, features)`.
            y: not used.
        """
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draw new data from the model, `(n_samples, features)`.

        Args:
            n_samples: how many.
            random_state: of the draws.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        return self._rows(generate(self.vae_, n_samples, seed=seed))

    def impute(self, X: Any) -> Array:
        """Give X with E[x_missing | x_known] in place of NaN, see `ppl_vae.impute`.

        Args:
            X: data `(data, features)`.
        """
        x = self._fitted(X)
        if not bool(x.isnan().any()):
            return self._rows(x)
        return self._rows(impute(self.vae_, x, num_particles=self.num_particles, seed=self.seed_).x)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Give the names of the columns of `transform`: z_0, z_1, …, by the names of latents.

        Args:
            input_features: not used.
        """
        check_is_fitted(self)
        names = [f"{name}_{i}" for name, shape in self._sites.items() for i in range(int(np.prod(shape)))]
        return np.array(names, object)

    def _checked(self, X: Any, *, reset: bool) -> Array:
        """Numbers `(data, features)`, by scikit-learn's own rules."""
        kinds = [np.float32, np.float64]
        return validate_data(self, X, reset=reset, dtype=kinds, ensure_all_finite="allow-nan")

    def _shaped(self, x: Array) -> torch.Tensor:
        """Data in the shape that the pair takes, in torch's default dtype, as a copy."""
        shape = (x.shape[1],) if self.shape is None else tuple(self.shape)
        if np.prod(shape) != x.shape[1]:
            raise ArgumentError(f"Got {x.shape[1]} features with shape={shape}, expected {np.prod(shape)} of them.")
        return torch.tensor(x, dtype=torch.get_default_dtype()).reshape(len(x), *shape)

    def _fitted(self, X: Any) -> torch.Tensor:
        """Data for the pair that is trained."""
        check_is_fitted(self)
        return self._shaped(self._checked(X, reset=False))

    def _rows(self, x: torch.Tensor) -> Array:
        found: Array = x.flatten(1).cpu().numpy()
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "vae_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _device(name: Any) -> torch.device:
    """The device of a name.

    Raises:
        ArgumentError: there is none of that name.
    """
    try:
        return torch.device("cpu" if name is None else name)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"Got device={name!r:.60}, expected one of torch's, such as 'cuda' ({error}).") from None
