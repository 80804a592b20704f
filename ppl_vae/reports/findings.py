"""Diagnostics in words: of each its title, a sentence with this run's numbers, and what each number means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ppl_vae.reports.tables import Row, flatten, text

Finding = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """The words for a diagnostic.

    Attributes:
        title: its heading.
        sentence: what was seen, made of the finding.
        meanings: of its numbers, by patterns of their names.
        figures: names of its pictures, as patterns.
        caption: how these are read.
    """

    title: str
    sentence: Callable[[Finding], str]
    meanings: Mapping[str, str]
    figures: str = ""
    caption: str = ""


def _ais(f: Finding) -> str:
    told = f"Annealing puts −log p(x) at {text(f['nll'])} ± {text(f['nll_se'])} nats on {f['n']} data"
    told += f", importance sampling at {text(f['nll_importance'])}" if "nll_importance" in f else ""
    return f"{told}; on data whose latents are known its bounds are {text(f['bracket'])} nats apart."


def _gaps(f: Finding) -> str:
    family, network = float(f["approximation"]), float(f["amortization"])
    larger = "its family costs more" if family > network else "its network costs more"
    return (
        f"On {f['n']} data the guide loses {text(family + network)} nats per datum: {text(family)} by its family, "
        f"{text(network)} by its network; {larger}."
    )


def _calibration(f: Finding) -> str:
    return (
        f"In {f['simulations']} simulations 90% intervals hold the truth {float(f['coverage_90']):.1%} of the time, "
        f"50% intervals {float(f['coverage_50']):.1%}, mean over units: {f['verdict']}."
    )


def _checks(f: Finding) -> str:
    p = {k.removesuffix("_pit_p"): float(v) for k, v in f.items() if k.endswith("_pit_p")}
    least = min(p, key=lambda name: p[name])
    return f"Of {len(p)} statistics of the data {least!r} fits samples least: p = {p[least]:.2g} of uniform ranks."


def _latents(f: Finding) -> str:
    sites = [k.removeprefix("information_") for k in f if k.startswith("information_")]
    parts = [
        f"{s}: {text(f[f'information_{s}'])} nats tell of the datum, {text(f[f'marginal_kl_{s}'])} keep all codes from "
        "the prior"
        for s in sites
    ]
    return "; ".join(parts[:6]) + ("; …" if len(parts) > 6 else "." if parts else "")


def _probe(f: Finding) -> str:
    if "r2" in f:
        return f"A linear reader of the codes explains {float(f['r2']):.1%} of the variance of the labels."
    told = f"A linear reader of the codes names the label of {float(f['accuracy']):.1%} of data"
    return f"{told} (chance {float(f['chance']):.1%})."


def _disentanglement(f: Finding) -> str:
    best = max(("mig", "sap", "dci_disentanglement", "factor_vae", "modularity"), key=lambda k: float(f[k]))
    return f"Of scores between 0 and 1, {best} is the highest with {float(f[best]):.2f}, MIG is {float(f['mig']):.2f}."


def _samples(f: Finding) -> str:
    return (
        f"Of {f['n']} samples {float(f['precision']):.0%} lie where data lie, and {float(f['coverage']):.0%} of the "
        f"data have a sample nearby (in {f['features']})."
    )


KNOWN: Mapping[str, Told] = {
    "ais": Told(
        "Annealed importance sampling",
        _ais,
        {
            "nll": "−log p(x) by annealing, nats per datum",
            "nll_se": "its Monte-Carlo standard error",
            "nll_importance": "−log p(x) of the same data by importance sampling",
            "acceptance": "share of proposals of Hamiltonian Monte Carlo that were taken",
            "bracket": "upper minus lower bound of log p(x) on simulated data, nats: near 0, annealing has converged",
            "n": "data annealed",
        },
    ),
    "gaps": Told(
        "Approximation and amortization gap",
        _gaps,
        {
            "approximation": "log p(x) less the ELBO of the best member of the family, nats per datum",
            "amortization": "that ELBO less the one of the network's guide, nats per datum",
            "n": "data looked at",
        },
        "gaps",
        "What the guide loses against log p(x), datum by datum: to its family, and to its network.",
    ),
    "calibration": Told(
        "Simulation-based calibration",
        _calibration,
        {
            "simulations": "data that the model made, whose latents are known",
            "draws": "of the guide per datum",
            "num_units": "latent units ranked",
            "p_value": "smallest p-value of uniform ranks, corrected for all units and TARP",
            "tarp_p_value": "the same of all units together, uncorrected",
            "coverage_*": "share of truths in central intervals of so many percent, mean over units",
            "spread": "standard deviation of ranks over that of a uniform, mean over units: above 1 where too narrow",
            "seed": "of what was drawn",
        },
        "calibration*",
        "Ranks of the true latents of simulated data among the guide's draws: within the band, the guide is calibrated "
        "on data that the model makes.",
    ),
    "checks": Told(
        "Predictive checks",
        _checks,
        {
            "*_posterior_p": "P(statistic of rebuilt data ≥ that of the data): near ½ unless it cannot be rebuilt",
            "*_pit_p": "p-value of: the data rank among samples as samples do",
        },
        "checks",
        "Where statistics of the data rank among those of data that the model makes: within the band, the model has "
        "their distribution right.",
    ),
    "latents": Told(
        "Information in the codes",
        _latents,
        {
            "information_*": "what all units of the site tell of which datum it is, nats",
            "marginal_kl_*": "KL of all codes together to the prior, nats",
        },
        "information",
        "A unit's KL is what it tells of the data, plus what keeps all codes together from looking like the prior: the "
        "second part makes samples worse than reconstructions.",
    ),
    "probe": Told(
        "Linear probe of the labels",
        _probe,
        {
            "accuracy": "share of held-out labels that are told right",
            "chance": "the same by the most frequent label",
            "r2": "share of the variance of held-out labels that is explained",
        },
    ),
    "disentanglement": Told(
        "Disentanglement",
        _disentanglement,
        {
            "mig": "mutual information gap: how far the best unit of a factor is before the second, over the entropy",
            "sap": "the same gap, of the R² with which one unit predicts a factor",
            "dci_disentanglement": "a unit tells of one factor",
            "dci_completeness": "a factor is told by one unit",
            "dci_informativeness": "the accuracy of all factors from all units",
            "factor_vae": "accuracy of naming the factor that was held fixed",
            "modularity": "a unit has information about one factor alone",
        },
    ),
    "samples": Told(
        "Samples against data",
        _samples,
        {
            "features": "the space in which neighbours are looked for",
            "n": "data, and as many samples",
            "precision": "share of samples within a neighbourhood of the data",
            "recall": "share of data within a neighbourhood of the samples",
            "density": "neighbourhoods of data that a sample lies in, over how many are expected",
            "coverage": "share of data with a sample in their neighbourhood",
            "frechet": "squared Fréchet distance of Gaussians with their moments; compare sets of one size only",
        },
    ),
}
"""The diagnostics that this package knows."""


def title(name: str) -> str:
    """The heading of a diagnostic, or its name."""
    return KNOWN[name].title if name in KNOWN else name.replace("_", " ")


def sentence(name: str, finding: Finding) -> str:
    """A sentence with this run's numbers; nothing of a finding that is unknown, or not as it was written."""
    if name not in KNOWN:
        return ""
    try:
        return KNOWN[name].sentence(finding)
    except (KeyError, TypeError, ValueError, OverflowError):  # of another version, or from elsewhere
        return ""


def rows(name: str, finding: Finding) -> list[Row]:
    """Its numbers with their meanings."""
    meanings = KNOWN[name].meanings if name in KNOWN else {}
    return [
        {
            "name": key,
            "value": text(value),
            "meaning": next((meaning for pattern, meaning in meanings.items() if fnmatchcase(key, pattern)), ""),
        }
        for key, value in flatten(finding)
        if key != "verdict"  # the sentence says it
    ]
