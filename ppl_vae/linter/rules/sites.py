"""Sites in one program only, and misspelt names."""

from collections.abc import Iterator

from ppl_vae.errors import near_names
from ppl_vae.linter.report import Finding
from ppl_vae.linter.trace import PairTrace

_WHY = "Pyro drops such a site from the bound without an error, and the loss looks plausible."


def find(trace: PairTrace) -> Iterator[Finding]:
    """Latent sites without a counterpart."""
    guide, model = trace.run.guide, trace.run.model
    drawn = trace.run.latents
    latent = {n: s for n, s in model.items() if not s["is_observed"]}
    enumerated = {n for n, s in latent.items() if s["infer"].get("enumerate")} | set(trace.vae.estimators)
    missing = [n for n in latent if n not in guide and n not in enumerated]
    extra = [n for n in drawn if n not in latent and not drawn[n]["infer"].get("is_auxiliary")]
    for name in missing:
        near = near_names(name, extra, cutoff=0.5)
        if near:
            extra.remove(near[0])
            yield Finding(
                "misspelt site",
                f"The model samples {name!r}; the guide does not, but samples {near[0]!r}, which the model does not.",
                f"{trace.at('guide', near[0])} and {trace.at('model', name)}",
                _WHY,
                f"Give both sites one name: pyro.sample({name!r}, …) in the guide.",
            )
            continue
        finite = getattr(latent[name]["fn"], "has_enumerate_support", False)
        other = "observe it (obs=…)"
        other += f', or sum it out: pyro.sample({name!r}, …, infer={{"enumerate": "parallel"}})' if finite else ""
        yield Finding(
            "discrete site without an estimator" if finite else "site in the model only",
            f"The model samples {name!r}, which the guide does not. The guide's latents: {sorted(drawn) or 'none'}.",
            trace.at("model", name),
            "The guide must say how it is inferred; drawn from its prior, the bound is loose and noisy.",
            f"Sample {name!r} in the guide, {'' if finite else 'or '}{other}.",
        )
    for name in extra:
        if name in model:
            yield Finding(
                "observed site in the guide",
                f"The guide draws {name!r}, which the model observes.",
                trace.at("guide", name),
                "Its draw is not used, and its log q is subtracted from the bound.",
                f"Drop {name!r} from the guide, or mark it infer={{'is_auxiliary': True}} and give it another name.",
            )
        else:
            near = near_names(name, latent)
            yield Finding(
                "site in the guide only",
                f"The guide samples {name!r}, which is no latent of the model. Those are: {sorted(latent) or 'none'}"
                + (f"; {near[0]!r} is near." if near else "."),
                trace.at("guide", name),
                _WHY,
                f"Sample {name!r} in the model, or mark it infer={{'is_auxiliary': True}} if it only serves others.",
            )
