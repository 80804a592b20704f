"""The features of a program, by which the table counts."""

from collections.abc import Iterator

from .program import CONTINUOUS, FINITE, Program


def features(program: Program) -> set[str]:
    """What a program has of what the search covers."""
    return set(_features(program))


def _features(program: Program) -> Iterator[str]:
    yield "objective: " + program.objective.split("(")[0] + (", analytic KL" if "analytic" in program.objective else "")
    if "beta" in program.objective and program.objective.startswith("ELBO"):
        yield "objective: ELBO, β ≠ 1"
    if program.total is not None:
        yield "minibatch of a larger data set"
    if program.style == "param":
        yield "functions with pyro.param"
    if program.plate != "data" or program.data_dim != -1:
        yield "data plate of another name or dim"
    if program.guide_plate:
        yield "data plates of two names"
    if program.sequential:
        yield "sequential data plate"
    if program.subsample:
        yield "data plate that subsamples itself"
    if program.inner_subsample:
        yield "inner plate that subsamples"
    if program.crossed:
        yield "site below the data plate"
    if any(s.step is not None for s in program.sites):
        yield "markov" + (", with lengths" if any(s.step is not None and s.law.mask for s in program.sites) else "")
    if program.net:
        yield program.net
    yield f"latent sites: {len([s for s in program.sites if s.is_latent])}"
    parameters = [
        {w for s in program.sites if (law := getattr(s, which)) for _, w in law.terms} for which in ("model", "guide")
    ]
    if any(isinstance(w, str) for w in parameters[0] & parameters[1]):
        yield "parameters shared by model and guide"
    names = {s.name for s in program.sites if s.is_latent}
    model_order = [s.name for s in program.sites if s.name in program.order]
    if model_order != list(program.order):
        yield "another order in the guide"
    for site in program.sites:
        for law in (site.model, site.guide):
            if law is not None:
                if law.mask:
                    yield "mask: " + ("obs_mask" if law.mask in ("obs_mask", "missing") else law.mask)
                if law.weight != 1.0:
                    yield "poutine.scale"
                if not law.rsample:
                    yield "has_rsample_(False)"
        if site.column == "factor":
            yield "pyro.factor"
        elif site.column == "deterministic":
            yield "pyro.deterministic"
        elif site.place == "below":
            yield "sites: below the data plate"
        elif site.column:
            yield f"observed: {site.law.family}"
        else:
            yield f"latent: {site.law.family}"
            if site.law.support in CONTINUOUS | FINITE and site.event:
                yield "events (to_event)"
            yield (
                "sites: "
                + {"data": "local", "inner": "in an inner plate", "global": "global", "outer": "global, in a plate"}[
                    site.place
                ]
            )
            if site.only_model:
                yield "enumerated in the model"
            elif site.name == "a":
                yield "auxiliary, " + ("without a reverse" if site.model is None else "with a reverse")
            elif site.infer:
                yield f"infer: enumerate in {site.infer}"
            if any(f in names for law in (site.model, site.guide) if law for f, _ in law.terms):
                yield "dependent latents"
            if site.estimator:
                name, arguments = site.estimator.split("(", 1)
                baseline = arguments.split(".")[-1].split("(")[0].strip(")")
                detail = baseline if name == "ScoreFunction" else arguments.strip(")").replace("0.7", "").strip(", ")
                yield f"estimator: {name}" + (f", {detail}" if detail else "")
            elif site.guide is not None:
                yield "estimator: default"
