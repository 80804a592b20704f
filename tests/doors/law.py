"""The law of the doors: one outcome, whichever function data enter by."""

import warnings
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.core.data import take_batch
from ppl_vae.errors import DataWarning, PplVaeError
from tests.doors.cases import COLUMNS, Case, held, stored, values


def pair(kind: str):
    """A small pair that observes x."""
    torch.manual_seed(0)
    embed = nn.Embedding(7, 1) if kind == "tokens" else nn.Identity()
    encode, decode = nn.Linear(COLUMNS, 4), nn.Linear(2, COLUMNS)

    def likelihood(h, x):
        if kind == "tokens":
            return dist.Categorical(logits=h.unsqueeze(-1) * torch.arange(7.0))
        if kind == "poisson":
            return dist.Poisson(h.exp())
        if kind == "bernoulli":
            return pv.likelihoods.binary.BernoulliLogits(logits=h)
        return dist.Normal(h, 1.0).mask(~x.isnan()) if kind == "masked" else dist.Normal(h, 1.0)

    def features(x):
        if kind == "tokens":
            return embed(x).squeeze(-1)
        return x.nan_to_num() if kind == "masked" else x if kind == "normal" else x.to(torch.get_default_dtype())

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", likelihood(decode(z), x).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = encode(features(x)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


DOORS = {
    "check": lambda vae, x: pv.check(vae, x),
    "terms": lambda vae, x: pv.terms(vae, x),
    "fit": lambda vae, x: pv.fit(vae, x, epochs=1, progress=False),
    "evaluate": lambda vae, x: pv.evaluate(vae, x, num_particles=2),
    "posterior": lambda vae, x: pv.posterior(vae, x, draws=2, predictive_draws=0),
    "generate": lambda vae, x: pv.generate(vae, 2, like=x, seed=0),
    "gradients": lambda vae, x: pv.gradients(vae, x, samples=10, estimators={"path": pv.estimators.Pathwise()}),
}


def outcome(door: str, case: Case, folder: Path) -> tuple[str, object]:
    """What a door gives: `ok` with numbers, or `refused` with a sentence, or `crashed`."""
    try:
        x = held(case, folder)
    except PplVaeError as error:  # a data set is refused when it is made
        return "refused", sentence(error)
    vae = pair(case.pair)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            found = DOORS[door](vae, x)
    except PplVaeError as error:
        own = getattr(error, "findings", ())
        if own and not any(f.what.startswith("Got") for f in own):  # what `check` finds in the pair, not in the data
            fails = any(f.kind == "does not run" for f in own)
            # `check` looks at programs, too: a width that does not fit may be theirs, so it names the line.
            return ("refused" if case.shape == "wide" else "crashed") if fails else "ok", str(error)[:200]
        return "refused", sentence(error)
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"[:200]
    return "ok", found.table["nll"].to_numpy() if door == "evaluate" else None


def sentence(error: Exception) -> str:
    """The sentence of a refusal, without what differs between doors."""
    text = str(error)
    return text[text.find("Got") :].split(", expected")[0]


def broken(case: Case, folder: Path, doors=tuple(DOORS)) -> str | None:
    """How a case breaks the law, or None."""
    found = {door: outcome(door, case, folder) for door in doors}
    if case.container == "data set":
        found.pop("fit", None)  # which takes whole data sets
    kinds = {door: kind for door, (kind, _) in found.items()}
    # What `terms` runs is not looked at beforehand: programs and distributions themselves refuse it.
    looked = {door: kind for door, kind in kinds.items() if door != "terms"}
    if "crashed" in looked.values() and len(set(looked.values())) > 1:
        return f"doors differ: {found}"
    if "crashed" in looked.values() and case.shape not in ("wide", "number"):
        return f"crashes: {found}"
    if len(set(looked.values())) > 1:
        return f"doors differ: {found}"
    if "crashed" in looked.values():
        return None
    if "refused" in looked.values():
        unseen = case.defect in ("nan", "inf", "outside") or case.shape == "one datum"
        if kinds.get("terms", "refused") == "ok" and not unseen:
            return f"terms takes what is refused: {found}"
        said = {str(found[door][1]) for door, kind in looked.items() if kind == "refused" and door != "check"}
        return None if len(said) == 1 else f"sentences differ: {found}"
    if kinds.get("terms", "ok") != "ok":
        return f"terms refuses: {found}"
    return _other_numbers(case, folder, found)


def _other_numbers(case: Case, folder: Path, found: dict) -> str | None:
    taken = take_batch(pair(case.pair), held(case, folder))[0].detach()
    dtype, taken = taken.dtype, taken.double().numpy()
    x = stored(case, values(case)).astype(float)
    if taken.shape != x.shape or not np.array_equal(taken, x, equal_nan=True):
        return f"other values: {taken} for {x}"
    if "evaluate" in found:
        canonical = torch.tensor(x).to(dtype)
        nll = pv.evaluate(pair(case.pair), canonical, num_particles=2).table["nll"]
        if not np.allclose(nll, found["evaluate"][1], rtol=1e-5, equal_nan=False):
            return f"other numbers: {found['evaluate'][1]} for {nll.to_numpy()}"
    return None
