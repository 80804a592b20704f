"""A random pair as Pyro source: what is run is what is printed."""

import re

from .program import INNER, OFFSETS, TABLE, Law, Program, Site, Weight, tidy

IMPORTS = """\
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

import ppl_vae as pv
"""


def source(program: Program) -> str:
    """The pair as Python source; it defines `model`, `guide`, `batch`, `vae`, `objective` and `total`."""
    program = tidy(program)
    lines = [IMPORTS, "torch.set_default_dtype(torch.float64)"]
    lines += [f"{name} = torch.tensor({_plain(values)})" for name, values in program.columns]
    if _uses_table(program):
        lines.append(f"T = torch.tensor({list(TABLE)})")
    lines += ["", ""]
    lines += _module(program) if program.style == "module" else _functions(program)
    batch = ", ".join(name for name, _ in program.columns)
    sites = {s.name: s.estimator for s in program.sites if s.estimator}
    if program.sequential:
        each = {s.name: range(program.size) if s.is_local else [None] for s in program.sites}
        sites = {n if i is None else f"{n}_{i}": e for n, e in sites.items() for i in each[n]}
    estimators = "{" + ", ".join(f'"{name}": pv.estimators.{e}' for name, e in sites.items()) + "}"
    lines += [
        "",
        f"batch = ({batch},)",
        f"vae = pv.VAE(model, guide, estimators={estimators})",
        f"objective = pv.objectives.{program.objective}",
        f"total = {program.total}",
    ]
    return "\n".join(lines) + "\n"


def _plain(value) -> str:
    return repr([list(v) if isinstance(v, tuple) else v for v in value])


def _uses_table(program: Program) -> bool:
    return any(s.law.family in ("categorical", "one_hot") for s in program.sites)


def _module(program: Program) -> list[str]:
    lines = ["class Pair(nn.Module):", "    def __init__(self):", "        super().__init__()"]
    lines += [f"        self.{n} = nn.Parameter(torch.tensor({v!r}))" for n, v in program.parameters]
    if program.net == "batch norm":
        lines.append("        self.net = nn.BatchNorm1d(1, affine=False, momentum=0.0)")
    if program.net == "dropout":
        lines.append("        self.net = nn.Dropout(0.5)")
    for which in ("model", "guide"):
        arguments = ", ".join(["self", *(name for name, _ in program.columns)])
        lines += ["", f"    def {which}({arguments}):"]
        names = _parameters_in(program, which)
        lines += [f"        {n} = self.{n}" for n in names]
        lines += ["        " + line for line in _body(program, which, "self.net")]
    return [*lines, "", "", "pair = Pair()", "model, guide = pair.model, pair.guide"]


def _functions(program: Program) -> list[str]:
    lines = []
    values = dict(program.parameters)
    if program.net:
        made = {"batch norm": "nn.BatchNorm1d(1, affine=False, momentum=0.0)", "dropout": "nn.Dropout(0.5)"}
        lines += [f"net = {made[program.net]}", "", ""]
    for which in ("model", "guide"):
        lines.append(f"def {which}({', '.join(name for name, _ in program.columns)}):")
        lines += [f'    {n} = pyro.param("{n}", torch.tensor({values[n]!r}))' for n in _parameters_in(program, which)]
        if program.net and which == "guide":
            lines.append('    pyro.module("net", net)')
        lines += ["    " + line for line in _body(program, which, "net")] + ["", ""]
    return lines


def _parameters_in(program: Program, which: str) -> list[str]:
    used = set()
    for site in program.sites:
        law = getattr(site, which)
        if law is not None:
            used |= {w for w in (*(w for _, w in law.terms), law.scale) if isinstance(w, str)}
    return [n for n, _ in program.parameters if n in used]


def _body(program: Program, which: str, net: str) -> list[str]:
    lines = []
    by_inner = {s.column for s in program.sites if s.place == "inner" and s.column}
    for name, _ in program.columns:
        if name in by_inner and program.data_dim == -1:
            lines.append(f"{name} = {name}.mT")
        elif name not in by_inner and program.data_dim == -2:
            lines.append(f"{name} = {name}.unsqueeze(-1)")
    if which == "guide" and program.net == "batch norm":
        lines.append(f"x = {net}(x.reshape(-1, 1)).reshape(x.shape)")
    elif which == "guide" and program.net:
        lines.append(f"x = {net}(x)")
    sites = program.sites if which == "model" else program.latents
    sites = [s for s in sites if getattr(s, which) is not None]
    if any(s.place == "inner" for s in sites):
        shape = (INNER, 1) if program.data_dim == -1 else (INNER,)
        offsets = [[v] for v in OFFSETS] if len(shape) == 2 else list(OFFSETS)
        lines.append(f"j = torch.tensor({offsets})")
    local = [s for s in sites if s.is_local]
    inner_dim = -3 - program.data_dim
    length = f"{program.columns[0][0]}.shape[0]"
    name = program.guide_plate if which == "guide" and program.guide_plate else program.plate
    if local and not program.sequential:
        sampled = f", subsample_size={program.subsample}" if program.subsample else ""
        lines.append(f'plate = pyro.plate("{name}", {length}{sampled}, dim={program.data_dim})')
    if program.subsample and local:
        lines.append("with plate as i:")
        turned = by_inner if program.data_dim == -1 else set()
        lines += [f"    {c} = {c}[..., i]" if c in turned else f"    {c} = {c}[i]" for c, _ in program.columns]
    if any(s.place == "inner" for s in sites):
        sampled = f", subsample_size={program.inner_subsample}" if program.inner_subsample else ""
        lines.append(f'inner = pyro.plate("inner", {INNER}{sampled}, dim={inner_dim})')
        if program.inner_subsample:
            lines.append("with inner as k:")
            lines += [f"    {c} = {_at_inner(c, inner_dim)}" for c in ("j", *by_inner)]
    if any(s.place == "outer" for s in sites):
        lines.append(f'outer = pyro.plate("components", {INNER}, dim=-1)')
        lines.append(f"h = torch.tensor({list(OFFSETS)})")
    return [*lines, *_blocks(program, sites, which, length)] or ["pass"]


def _at_inner(column: str, inner_dim: int) -> str:
    return f"{column}[..., k]" if inner_dim == -1 else f"{column}[..., k, :]"


def _blocks(program: Program, sites: list[Site], which: str, length: str) -> list[str]:
    """The statements, in blocks of sites that stand in the same plates."""
    lines = []
    opened = {"data": "with plate:", "inner": "with plate, inner:", "outer": "with outer:"}
    if program.sequential:
        opened["data"] = f'for i in pyro.plate("{program.plate}", {length}):'
    last, steps = "", None
    for site in sites:
        inside = site.place in opened
        if site.place != last and inside:
            lines.append(opened[site.place])
        indent = "    " if inside else ""
        if site.step is not None and site.step != steps:
            if steps is None:
                lines.append(indent + "steps = iter(pyro.markov(range(9)))")
            lines.append(indent + "next(steps)")
        elif site.step is None and steps is not None:
            lines.append(("    " if last in opened else "") + "steps.close()")
        last, steps = site.place, site.step
        statement = _statement(program, site, which)
        if program.sequential and inside:
            for column, _ in program.columns:
                statement = [re.sub(rf"(?<![\w\"]){column}(?![\w\"=])", f"{column}[i]", line) for line in statement]
            statement = [line.replace(f'"{site.name}"', f'f"{site.name}_{{i}}"') for line in statement]
        lines += [indent + line for line in statement]
    if steps is not None:
        lines.append(("    " if last in opened else "") + "steps.close()")
    return lines


def _statement(program: Program, site: Site, which: str) -> list[str]:
    law = getattr(site, which)
    if which == "model" and law.mask == "missing":
        return []  # pyro.sample(…, obs_mask=…) makes it
    if site.column == "factor":
        return [f'pyro.factor("{site.name}", {_sum(program, site, law, which)})']
    if site.column == "deterministic":
        return [f'pyro.deterministic("{site.name}", {_sum(program, site, law, which)})']
    mask = "False" if law.mask.endswith("off") else "~" * (law.mask == "missing") + law.masked_by
    fn = _distribution(program, site, law, which)
    if law.mask.startswith("method"):
        fn += f".mask({mask})"
    options = []
    if site.column:
        options.append(f"obs=torch.tensor({site.column})" if site.place == "below" else f"obs={site.column}")
    if law.mask == "obs_mask":
        options.append(f"obs_mask={law.masked_by}")
    infer = {}
    twin = next((s for s in program.sites if s.name == site.name + "_unobserved"), None)
    marked = site.infer if law.mask != "obs_mask" or twin is None else twin.infer
    if marked in (which, "both"):
        infer["enumerate"] = "parallel"
    if site.name == "a" and which == "guide":
        infer["is_auxiliary"] = True
    if infer:
        options.append(f"infer={infer}")
    target = f"{site.name} = " if site.is_latent else f"{twin.name} = " if twin is not None else ""
    line = f'{target}pyro.sample("{site.name}", {", ".join([fn, *options])})'
    if law.weight != 1.0:
        line = f"with poutine.scale(scale={law.weight}):\n    {line}"
    if law.mask.startswith("handler") or law.mask == "missing":
        line = f"with poutine.mask(mask={mask}):\n    " + line.replace("\n", "\n    ")
    return line.split("\n")


def _weight(w: Weight) -> str:
    return w if isinstance(w, str) else repr(w)


def _feature(program: Program, name: str, here: Site) -> str:
    if name == "1":
        return ""
    if name == "j":
        return "h" if here.place == "outer" else "j"
    if name in dict(program.columns):
        return name
    site = program[name]
    family, source = site.law.family, name
    if family == "one_hot":
        source = f"({name} * T).sum(-1)"
    elif family == "categorical":
        source = f"T[{name}]"
    elif family in ("lognormal", "gamma"):
        source = f"{name}.log()"
    elif family == "beta":
        source = f"(2 * {name} - 1)"
    elif family == "von_mises":
        source = f"{name}.sin()"
    elif family == "binomial":
        source = f"({name} - 1)"
    elif family == "poisson":
        source = f"(0.5 * {name} - 0.5)"
    if site.event:
        source = f"{source}.sum(-1)"
    if here.place == "below" and site.is_local:
        return source + (".sum((-2, -1))" if site.place == "inner" else f".sum({program.data_dim})")
    if site.place == "inner" and here.place != "inner":
        source = f"{source}.sum({-3 - program.data_dim}, keepdim=True)"
    elif site.place == "outer" and here.place != "outer":
        source = f"{source}.sum(-1, keepdim=True)"
    return source


def _sum(program: Program, site: Site, law: Law, which: str) -> str:
    parts = []
    for name, weight in law.terms:
        feature = _feature(program, name, site)
        if not feature:
            parts.append(_weight(weight) if isinstance(weight, str) else f"torch.tensor({weight!r})")
        else:
            parts.append(f"{_weight(weight)} * {feature}")
    return " + ".join(parts) or "torch.tensor(0.0)"


def _distribution(program: Program, site: Site, law: Law, which: str) -> str:
    eta = _sum(program, site, law, which)
    if site.event:
        eta = f"({eta}).unsqueeze(-1) + 0.4 * torch.arange({site.event})"
    scale = f"{law.scale}.exp()" if isinstance(law.scale, str) else repr(law.scale)
    made = {
        "normal": f"dist.Normal({eta}, {scale})",
        "delta": f"dist.Delta({eta})",
        "lognormal": f"dist.LogNormal({eta}, {scale})",
        "gamma": f"dist.Gamma(torch.tensor(2.5), ({eta}).exp())",
        "beta": f"dist.Beta(1.5 + ({eta}).exp(), torch.tensor(2.0))",
        "von_mises": f"dist.VonMises({eta}, torch.tensor(1.5))",
        "bernoulli": f"dist.Bernoulli(logits={eta})",
        "categorical": f"dist.Categorical(logits=({eta}).unsqueeze(-1) * torch.tensor([1.0, 0.2, -1.0]))",
        "one_hot": f"dist.OneHotCategorical(logits=({eta}).unsqueeze(-1) * torch.tensor([1.0, 0.2, -1.0]))",
        "binomial": f"dist.Binomial(2, logits={eta})",
        "poisson": f"dist.Poisson(({eta}).exp())",
    }[law.family]
    if not law.rsample:
        made += ".has_rsample_(False)"
    return made + (".to_event(1)" if site.event else "")
