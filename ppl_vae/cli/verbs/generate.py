"""`ppl-vae generate`: new data from the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from ppl_vae.cli.artifacts import save_arrays, save_figures
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import Asked
from ppl_vae.cli.open_run import conditions, opened, part
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import attempt
from ppl_vae.cli.rows import save_rows
from ppl_vae.config.schema import near
from ppl_vae.errors import DataError, UsageError

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.runs.run import Run

MOST = 400  # pictures on one sheet


def run(cfg: DictConfig, context: Context) -> Result:
    """Draw n data into `DIR/samples.npz`, with what they were drawn for, and a picture of them into `DIR/figures`.

    A table of mixed columns is `DIR/samples.csv`, too, in the words of its source.
    """
    from ppl_vae.core.data import as_pair_takes
    from ppl_vae.core.generate import generate

    run, vae = opened(cfg, context)
    given: Any = OmegaConf.to_container(cfg.given)
    like = part(run, cfg.like.name).batch() if cfg.like is not None else _enough(run, vae, given)
    like = as_pair_takes(like, vae)
    given = named(run, vae, like, given)
    drawn = generate(vae, cfg.n, like=like, given=given, seed=cfg.seed)
    made = drawn if isinstance(drawn, dict) else {"x": drawn}
    arrays = {k: restored(run, v) for k, v in made.items()}
    arrays = {**{k: v for k, v in used(vae, like, given, cfg.n).items() if k not in made}, **arrays}
    path = save_arrays(run.directory / "samples.npz", arrays)
    if run.spec.columns is not None and "x" in arrays:
        asked = Asked(part(run, "train"), "samples", np.arange(cfg.n), "datum")
        path = save_rows(run.directory, asked, {"x": arrays["x"]}, "csv", run.spec)
    pictures = []
    if cfg.figures:
        with attempt("generate", "figures"):
            pictures = save_figures(run.directory, _figures(cfg, run, vae, like, given, drawn))
    shapes = {k: list(v.shape) for k, v in arrays.items()}
    record = {"run": str(run), "samples": str(path), "n": cfg.n, "shapes": shapes, "figures": pictures}
    lines = [f"{cfg.n} new data: {path} ({', '.join(f'{k} {tuple(v)}' for k, v in shapes.items())})"]
    return Result(record=record, lines=[*lines, *(f"figure: {p}" for p in pictures)], made=[path])


def _enough(run: Run, vae: VAE, given: Mapping[str, Any]) -> Any:
    """The data that a run keeps, where all that the model takes beside them is given; else data that have it."""
    from ppl_vae.core.data import as_pair_takes
    from ppl_vae.core.inputs import inputs_of

    kept = run.reference
    if given and kept is not None:
        kept = as_pair_takes(kept, vae)
        said = named(run, vae, kept, given)
        if all(i.name in said for i in inputs_of(vae, kept) if i.is_needed):
            return kept
    return conditions(run)


def named(run: Run, vae: VAE, batch: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of the model's arguments: typed by those, by the data's names, a class by its own.

    Raises:
        UsageError: for a name that is neither.
        DataError: for a class that is not there.
    """
    from ppl_vae.core.inputs import arguments

    names = list(arguments(vae.model, len(batch)))
    fields = {field.name: place for place, field in enumerate(run.spec.fields)}
    classes = {place: (f.classes, f.class_names or ()) for place, f in enumerate(run.spec.fields) if f.classes}
    node = run.plain_config["dataset"]
    if node.get("labelled") is not None and len(run.spec.fields) < len(names):
        fields["y"] = len(run.spec.fields)  # labels of some follow what the spec tells of
    if "y" in fields and run.spec.num_classes:
        own = str(node.get("label") or "label")
        fields = {"label": fields["y"], own: fields["y"], **fields}
        classes[fields["y"]] = (run.spec.num_classes, run.spec.class_names or ())
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = key if key in names else names[fields[key]] if key in fields else None
        if name is None:
            raise UsageError(f"given.{key}: the model takes no such thing; {near(str(key), {*names, *fields})}")
        of = classes.get(names.index(name))
        found[name] = value if of is None else _codes(key, value, *of)
    return found


def _codes(key: str, value: Any, count: int, names: Sequence[str]) -> Any:
    """Categories by the names of their classes, or by number, each within range."""
    if isinstance(value, list):
        return [_codes(key, v, count, names) for v in value]
    number = names.index(str(value)) if str(value) in names else value
    numbered = any(name.lstrip("-").isdigit() for name in names) and list(names) != [*map(str, range(count))]
    is_code = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < count
    if not is_code or (numbered and str(value) not in names):  # a number is a name then, never a code
        expected = [] if numbered else [f"a class from 0 to {count - 1}"]
        expected += [f"one of {', '.join(map(str, names))}"] if names else []
        raise DataError(f"given.{key}: got {value!r}, expected {', or '.join(expected)}")
    return number


def used(vae: VAE, batch: tuple[Any, ...], given: Mapping[str, Any], n: int) -> dict[str, Any]:
    """The conditions of n drawn data, by name: what was given, and what else the model takes beside its data."""
    import torch

    from ppl_vae.core.batch import batch_length, take
    from ppl_vae.core.half import array_of
    from ppl_vae.core.inputs import arguments, given_values, inputs_of

    names = list(arguments(vae.model, len(batch)))
    values = {names[place]: value for place, value in given_values(vae, batch, given, n).items()}
    cycled = take(batch, torch.arange(n, device=vae.device) % (batch_length(batch) or 1))
    others = {i.name: cycled[p] for p, i in enumerate(inputs_of(vae, batch)) if i.is_needed and i.name not in values}
    found = {**values, **others}
    return {k: array_of(v) if isinstance(v, torch.Tensor) else np.asarray(v) for k, v in found.items()}


def restored(run: Run, value: Any) -> Any:
    """In the units of the source, where the data were standardized."""
    from ppl_vae.core.half import array_of

    return array_of(run.spec.restore(value) if tuple(value.shape[1:]) == run.spec.shape else value)


def _figures(cfg: DictConfig, run: Run, vae: VAE, like: Any, given: Any, drawn: Any) -> dict[str, Any]:
    from ppl_vae import plots
    from ppl_vae.core.generate import generate, of_data
    from ppl_vae.core.half import array_of
    from ppl_vae.datasets.columns import value_names
    from ppl_vae.plots.of_pair import Pixels, rows

    if run.spec.is_image and run.spec.shape[0] in (1, 3):
        few = min(cfg.n, MOST)
        some = {k: v[:few] if isinstance(v, list) and len(v) == cfg.n else v for k, v in given.items()}
        means = generate(vae, few, like=like, given=some, mean=True, seed=cfg.seed)
        means = of_data(means, like[0]) if isinstance(means, dict) else means
        title = "Means of p(x | z), z from the prior"
        return {"samples": plots.image_grid(Pixels(run.spec, like[0])(means), None, title)}
    data = run.data.test if len(run.data.test) else run.data.train
    seen = restored(run, data.batch()[0])
    if run.spec.time is not None:
        there = np.arange(run.spec.time) < array_of(data.batch()[1])[:, None]
        seen = np.where(there[..., None], seen, np.nan)
    samples = of_data(drawn, like[0]) if isinstance(drawn, dict) else drawn
    names, words = run.spec.feature_names, value_names(run.spec)
    made = rows(restored(run, samples), run.spec)
    made = made[~np.isnan(made).any(-1)]  # not what is after the end of a sequence
    return {"samples": plots.sample_marginals(rows(seen, run.spec), made, names, words)}
