"""Scale and mask: on one side only, or where the minibatch scale is applied already."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ppl_vae.core.observed import masks
from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace


def find(trace: PairTrace) -> Iterator[Finding]:
    """Weights and masks that the two programs do not share, and scales by hand over a plate that is scaled."""
    for name, q in trace.run.latents.items():
        p = trace.run.model.get(name)
        if p is None or p["is_observed"]:
            continue
        where = f"{trace.at('guide', name)} and {trace.at('model', name)}"
        ws = weight(q), weight(p)
        if not _equal(*ws):
            yield Finding(
                "scale on one side",
                f"poutine.scale weighs the site by {_told(ws[0])} in the guide and by {_told(ws[1])} in the model.",
                where,
                "log p and log q no longer weigh the same: their difference is no KL, and some bounds ignore one side.",
                "Put the scale on both programs, or give the weight to the objective: ELBO(beta=…, weights={…}).",
            )
        ms = effective_mask(q), effective_mask(p)
        if not _equal(*ms):
            yield Finding(
                "mask on one side",
                f"The site is masked in the {'guide' if _hides(ms[0]) else 'model'} and not alike in the other.",
                where,
                "Where it is masked on one side, log p or log q is charged alone.",
                "Put the same poutine.mask on the site in both programs.",
            )
    yield from _by_hand(trace)


def _by_hand(trace: PairTrace) -> Iterator[Finding]:
    shared = [n for n, s in trace.run.latents.items() if not trace.is_local(s)]
    for name, site in trace.run.model.items():
        w = weight(site)
        constant = w.numel() == 1 and float(w) > 1
        if site["is_observed"] and trace.is_local(site) and constant and shared:
            yield Finding(
                "minibatch scale by hand",
                f"poutine.scale weighs the likelihood by {_told(w)}, and the pair has global latents: {shared}.",
                trace.at("model", name),
                "`fit` scales the data plate by N/B by itself: the two would be multiplied.",
                "Drop the poutine.scale; a scale that is meant as a temper or a weight may stay.",
                "warning",
            )


def weight(site: dict[str, Any]) -> Tensor:
    """The user's `poutine.scale` on a site, without the scale of plates that subsample."""
    own = 1.0
    for f in site["cond_indep_stack"]:
        if f.full_size is not None and f.size > 0 and f.full_size != f.size:
            own *= f.full_size / f.size
    return torch.as_tensor(site["scale"]) / own


def effective_mask(site: dict[str, Any]) -> Tensor:
    """True where a site counts, by its handlers' mask and that of its distribution."""
    mask = torch.tensor(True)
    for part, event_dim in masks(site):
        own = torch.as_tensor(part).to(torch.bool)
        over = site["fn"].event_dim - event_dim
        if over and own.dim():
            own = own.flatten(-min(over, own.dim())).all(-1)
        mask = mask & own
    return mask


def _hides(mask: Tensor) -> bool:
    return not bool(mask.all())


def _equal(a: Tensor, b: Tensor) -> bool:
    try:
        return bool(torch.isclose(a.float(), b.float(), rtol=1e-5).all())
    except RuntimeError:  # shapes that cannot be compared are found elsewhere
        return True


def _told(w: Tensor) -> str:
    return f"{float(w):g}" if w.numel() == 1 else f"{float(w.min()):g} … {float(w.max()):g}"
