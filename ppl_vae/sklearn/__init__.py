"""A pair as an estimator of scikit-learn, for its pipelines, searches and cross-validation."""

from ppl_vae.sklearn.estimator import VAE

__all__ = ["VAE"]
