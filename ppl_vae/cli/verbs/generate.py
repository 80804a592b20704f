"""`ppl-vae generate`: new data from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from ppl_vae.cli.artifacts import save_arrays, save_figures
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import conditions, opened
from ppl_vae.cli.output import Result

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.runs.run import Run

MOST = 400  # pictures on one sheet


def run(cfg: DictConfig, context: Context) -> Result:
    """Draw n data into `DIR/samples.npz`, and a picture of them into `DIR/figures`."""
    from ppl_vae.core.generate import generate

    run, vae = opened(cfg)
    like = conditions(run)
    drawn = generate(vae, cfg.n, like=like, seed=cfg.seed)
    arrays = {k: _restored(run, v) for k, v in (drawn if isinstance(drawn, dict) else {"x": drawn}).items()}
    path = save_arrays(run.directory / "samples.npz", arrays)
    figures = _figures(cfg, run, vae, like, drawn) if cfg.figures else {}
    pictures = save_figures(run.directory, figures)
    shapes = {k: list(v.shape) for k, v in arrays.items()}
    record = {"run": str(run), "samples": str(path), "n": cfg.n, "shapes": shapes, "figures": pictures}
    lines = [f"{cfg.n} new data: {path} ({', '.join(f'{k} {tuple(v)}' for k, v in shapes.items())})"]
    return Result(record=record, lines=[*lines, *(f"figure: {p}" for p in pictures)])


def _restored(run: Run, value: Any) -> Any:
    """In the units of the source, where the data were standardized."""
    return run.spec.restore(value).numpy() if tuple(value.shape[1:]) == run.spec.shape else value.numpy()


def _figures(cfg: DictConfig, run: Run, vae: VAE, like: Any, drawn: Any) -> dict[str, Any]:
    from ppl_vae.core.generate import generate, of_data
    from ppl_vae.reports import figures

    if run.spec.is_image and run.spec.shape[0] in (1, 3):
        means = generate(vae, min(cfg.n, MOST), like=like, mean=True, seed=cfg.seed)
        means = of_data(means, like[0]) if isinstance(means, dict) else means
        return {"samples": figures.samples_grid(np.clip(_restored(run, means), 0, 1))}
    data = run.data.test if len(run.data.test) else run.data.train
    seen = _restored(run, data.batch()[0])
    samples = of_data(drawn, like[0]) if isinstance(drawn, dict) else drawn
    return {"samples": figures.sample_marginals(seen, _restored(run, samples), run.spec.feature_names)}
