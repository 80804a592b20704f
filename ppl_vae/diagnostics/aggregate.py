"""The aggregate posterior: what a unit tells of the data, and whether all codes together look like the prior."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from ppl_vae.core.data import as_split, take_data
from ppl_vae.core.tiles import blocks, first_data, inference, plan
from ppl_vae.distributions.unwrap import factors

if TYPE_CHECKING:
    import pandas as pd

    from ppl_vae.core.pair import VAE

JOINT = "joint"
"""The row of a site as a whole."""


def aggregate(vae: "VAE", data: Any, *, most: int = 2_000, seed: int = 0) -> "pd.DataFrame":
    r"""Split the KL of each unit into information about the data and a misfit of all codes to the prior.

    With the aggregate posterior q(z) = 1/N Σᵢ q(z | xᵢ),

    $$\frac1N \sum_i \mathrm{KL}(q(z \mid x_i) \| p(z)) = I_q(x; z) + \mathrm{KL}(q(z) \| p(z)).$$

    I is at most log N. A large second term says that draws from the prior fall where the decoder was never trained:
    samples look worse than reconstructions; a richer prior, such as VampPrior, may help. One draw per datum is taken,
    and the densities of all N² pairs. Left out are sites whose guide is not a Normal with independent units, and those
    whose prior depends on other latents or on the datum: there is no one prior that their aggregate is compared with.

    Args:
        vae: the pair.
        data: a `Split`, a tensor or a tuple of them.
        most: N at most: the first of the data.
        seed: of the draws.

    Returns:
        A row per unit and one per site (`unit` = `"joint"`), nats per datum: `site`, `unit`, `kl`, `information`,
        `marginal_kl`, each a sampled estimate, and `mean` and `deviation` of the aggregate posterior.

    References:
        Hoffman and Johnson (2016), ELBO surgery: yet another way to carve up the variational evidence lower bound,
            http://approximateinference.org/accepted/HoffmanJohnson2016.pdf
    """
    import pandas as pd

    split = take_data(vae, as_split(data, vae)[:most])
    found: dict[str, dict[str, list[Tensor]]] = {}
    varying: set[str] = set()
    first = first_data(vae, split)
    with inference(vae, first) as draw:
        tiling = plan(vae, first, len(split), 1, "1GB", seed)
        for block in blocks(vae, split, tiling):
            t = draw(block.batch)
            for name, q in t.latents.items():
                normal, p = factors(q.fn), t.model.get(name)
                prior = None if p is None else factors(p.fn)
                if not q.is_local or q.plates or not isinstance(normal, Normal) or prior is None or prior.event_dim:
                    continue
                same = prior.log_prob(q.raw[:1].expand_as(q.raw))  # one value, under the prior of each datum
                if not torch.allclose(same, same[:1].expand_as(same), rtol=1e-4, atol=1e-5):
                    varying.add(name)
                    continue
                shape = (t.batch_size, -1)
                parts = {
                    "loc": normal.loc.expand(q.raw.shape).reshape(shape),
                    "scale": normal.scale.expand(q.raw.shape).reshape(shape),
                    "z": q.raw.reshape(shape),
                    "log_p": prior.log_prob(q.raw).expand(q.raw.shape).reshape(shape),
                }
                for key, value in parts.items():
                    found.setdefault(name, {}).setdefault(key, []).append(value.double())
        rows: list[dict[str, Any]] = []
        for name, collected in found.items():
            if name in varying:
                continue
            rows += _rows(name, {key: torch.cat(values) for key, values in collected.items()})
    columns = ["site", "unit", "kl", "information", "marginal_kl", "mean", "deviation"]
    return pd.DataFrame(rows, columns=columns)


def _rows(name: str, of: dict[str, Tensor]) -> list[dict[str, Any]]:
    loc, scale, z, log_p = of["loc"], of["scale"], of["z"], of["log_p"]
    n, units = z.shape
    own = Normal(loc, scale).log_prob(z)
    block = max(1, 2**24 // max(n * units, 1))
    unit_parts, joint_parts = [], []
    for rows in z.split(block):
        pairs = Normal(loc, scale).log_prob(rows[:, None])  # (rows, data, units)
        unit_parts.append(pairs.logsumexp(1) - math.log(n))
        joint_parts.append(pairs.sum(-1).logsumexp(1) - math.log(n))
    all_q, joint_q = torch.cat(unit_parts), torch.cat(joint_parts)
    kl, information = (own - log_p).mean(0), (own - all_q).mean(0)
    mean = loc.mean(0)
    deviation = (scale.square().mean(0) + loc.var(0, unbiased=False)).sqrt()
    per_unit = torch.stack([kl, information, (all_q - log_p).mean(0), mean, deviation], 1).tolist()
    rest = float((joint_q - log_p.sum(-1)).mean())
    joint = [float(kl.sum()), float((own.sum(-1) - joint_q).mean()), rest, np.nan, np.nan]
    columns = ("kl", "information", "marginal_kl", "mean", "deviation")
    return [
        {"site": name, "unit": unit, **dict(zip(columns, values, strict=True))}
        for unit, values in [*enumerate(per_unit), (JOINT, joint)]
    ]
