"""Make a failing program smaller while it fails in the same way."""

from collections.abc import Iterator
from dataclasses import replace

from .compare import Verdict, judge
from .program import Law, Program, Site, tidy


def shrink(program: Program, verdict: Verdict, tries: int = 150) -> tuple[Program, Verdict]:
    """The smallest program found by greedy removal whose verdict has the same signature, and that verdict."""
    wanted = verdict.signature()
    smaller = True
    while smaller and tries > 0:
        smaller = False
        for candidate in simpler(program):
            tries -= 1
            if tries < 0:
                break
            try:
                found = judge(candidate)
            except Exception:  # no program at all: a plate without sites, say
                continue
            if found.signature() == wanted:
                program, verdict, smaller = candidate, found, True
                break
    return program, verdict


def simpler(program: Program) -> Iterator[Program]:
    """Programs with one thing less, the largest steps first."""
    for site in reversed(program.sites):
        yield from _without(program, site)
    for plain in ({"net": ""}, {"total": None}, {"data_dim": -1}, {"plate": "data"}, {"style": "module"}):
        changed = replace(program, **plain)
        if changed != program:
            yield tidy(changed)
    if program.size > 1:
        yield replace(program, columns=tuple((n, v[:-1]) for n, v in program.columns))
    for site in program.sites:
        for which in ("model", "guide"):
            law = getattr(site, which)
            if law is not None:
                for changed in _plainer(law):
                    yield tidy(program.with_site(site.name, **{which: changed}))
        for plain in ({"estimator": ""}, {"infer": ""}, {"event": 0}):
            changed = replace(site, **plain)
            if changed != site and not (site.only_model and "infer" in plain):
                yield tidy(program.with_site(site.name, **plain))
        yield from _other_families(program, site)
    if not program.objective.startswith("ELBO"):
        yield replace(program, objective="IWAE(2)") if program.objective != "IWAE(2)" else program
    for objective in ("ELBO(1)", "ELBO(2)"):
        if program.objective.startswith("ELBO(") and program.objective > objective:
            yield replace(program, objective=objective)
    if program.order != tuple(s.name for s in program.sites if s.name in program.order):
        yield replace(program, order=tuple(s.name for s in program.sites if s.name in program.order))


def _without(program: Program, site: Site) -> Iterator[Program]:
    left = [s for s in program.sites if s.name != site.name]
    if not any(s.column for s in left) or not any(s.guide for s in left):
        return

    def cut(law: Law | None) -> Law | None:
        return law and replace(law, terms=tuple(t for t in law.terms if t[0] != site.name))

    left = [replace(s, model=cut(s.model), guide=cut(s.guide)) for s in left]
    order = tuple(n for n in program.order if n != site.name)
    yield tidy(replace(program, sites=tuple(left), order=order))


def _plainer(law: Law) -> Iterator[Law]:
    for i, (name, weight) in enumerate(law.terms):
        yield replace(law, terms=law.terms[:i] + law.terms[i + 1 :])
        if isinstance(weight, str) and name != "1":
            yield replace(law, terms=(*law.terms[:i], (name, 0.5), *law.terms[i + 1 :]))
    for plain in ({"mask": ""}, {"weight": 1.0}, {"rsample": True}):
        if replace(law, **plain) != law:
            yield replace(law, **plain)
    if law.scale != 1.0 and law.family in ("normal", "lognormal"):
        yield replace(law, scale=1.0)


def _other_families(program: Program, site: Site) -> Iterator[Program]:
    simple = {"lognormal": "normal", "gamma": "normal", "beta": "normal", "von_mises": "normal"}
    simple |= {"one_hot": "bernoulli", "categorical": "bernoulli", "binomial": "bernoulli", "poisson": "bernoulli"}
    laws = {w: law for w in ("model", "guide") if (law := getattr(site, w)) is not None}
    if site.is_latent and all(law.family in simple for law in laws.values()):
        yield program.with_site(site.name, **{w: replace(law, family=simple[law.family]) for w, law in laws.items()})
