"""A pair at a glance: its sites with their distributions and estimators, as a table and, with graphviz, as graphs."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import pyro
import torch

from ppl_vae.core.plates import unchanged
from ppl_vae.core.run import prepare, terms
from ppl_vae.core.series import series
from ppl_vae.display import View, few
from ppl_vae.distributions.unwrap import family

if TYPE_CHECKING:
    from ppl_vae.core.pair import VAE
    from ppl_vae.core.site import Site

COLUMNS = ("site", "p", "q", "shape", "role", "given", "estimator")


def overview(vae: VAE) -> View:
    """The sites of a pair, its parameters, and its modules when asked.

    The programs run once on the first data that the pair has seen, without gradients; random number generators and
    buffers are as before. Of a pair that has seen no data the sites are not known yet, which is said.
    """
    size = sum(p.numel() for p in vae.parameters())
    title = f"VAE({_name(vae.model)}, {_name(vae.guide)}): {size:,} parameters on {vae.device}"
    folded = {"modules": repr(vae)}
    batch = vae.reference_batch
    if batch is None:
        note = "The sites are known once the pair has seen data: pv.check(vae, batch), or any other use."
        return View(title, notes=[note], folded=folded)
    try:
        with unchanged(vae), torch.no_grad():
            rows = sites(vae, batch)
    except Exception as error:  # a program that fails is told of where it is used
        return View(title, notes=[f"The programs do not run ({type(error).__name__}: {error})."], folded=folded)
    return View(title, COLUMNS, rows, pictures=graphs(vae, batch), folded=folded)


def sites(vae: VAE, batch: Any) -> list[tuple[str, ...]]:
    """A row for each site of either program, in the order of the model; those of a series that are alike in one."""
    found, prepared = terms(vae, batch), prepare(vae, batch)
    order = [*found.model, *(name for name in found.guide if name not in found.model)]
    parents = {**prepared.plates.above, **prepared.plates.parents}
    rows = {}
    for name in order:
        p, q = found.model.get(name), found.guide.get(name)
        site = q if p is None else p
        assert site is not None
        estimator = prepared.estimators.get(name)
        by = "-" if estimator is None else type(estimator).__name__
        rows[name] = (_family(p), _family(q), _shape(site), site.role, few(sorted(parents.get(name, ())), 3) or "-", by)
    alike = series({name: (*row[:4], row[5]) for name, row in rows.items()})  # what they are given differs
    last = {name: names for names in alike.values() for name in names}
    told = {last.get(name, (name,)): row for name, row in rows.items()}
    return [(names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}", *row) for names, row in told.items()]


def graphs(vae: VAE, batch: Any) -> list[str]:
    """Both programs as `pyro.render_model` draws them, SVG; none without graphviz, or if it cannot follow them."""
    if shutil.which("dot") is None:
        return []
    drawn = []
    for program in (vae.run_model, vae.run_guide):
        try:
            with unchanged(vae):
                graph = pyro.render_model(program, model_args=batch)
            drawn.append(re.sub(r"\A.*?(?=<svg)", "", graph.pipe(format="svg", encoding="utf-8"), flags=re.DOTALL))
        except Exception:  # no Python package, a program that pyro cannot follow: the table says what there is
            return []
    return drawn


def _name(program: Any) -> str:
    """The name of a program: of its class, or of the function that it stands for."""
    inner = getattr(program, "fn", program)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _family(site: Site | None) -> str:
    return "-" if site is None else family(site.fn)


def _shape(site: Site) -> str:
    return str(tuple(site.value.shape[1 + site.is_local :]))
