"""Numbers as the rows, tiles and sentences of a report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MEANINGS: Mapping[str, str] = {
    "nll": "−log p(x), importance-weighted estimate, nats per datum; lower is better",
    "nll_se": "its Monte-Carlo standard error: how much another seed would change it",
    "nll_se_data": "its sampling standard error: how much another test set of this size would change it",
    "elbo": "evidence lower bound at β = 1, nats per datum",
    "elbo_se": "its Monte-Carlo standard error",
    "kl": "KL(q(z | x) ‖ p(z)), nats per datum",
    "kl_per_site": "the same, site by site",
    "kl_global": "KL of a latent shared by all data, nats in all",
    "active_units": "latent units whose posterior mean varies over data by more than 0.01",
    "num_units": "latent units in all",
    "pareto_k": "tail shape k̂ of the importance weights, mean over data",
    "pareto_k_max": "its largest value",
    "pareto_k_bad": "fraction of data with k̂ > 0.7",
    "ess": "effective number of particles, mean over data",
    "gap": "ELBO below the evidence: what the guide loses, nats per datum",
    "reconstruction": "−log p(x | z), nats per datum",
    "num_particles": "importance samples per datum",
    "n": "data evaluated",
    "seed": "seed of the particles",
    "reason": "why there is no evidence",
}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the leaves of nested mappings under dotted names.

    >>> list(flatten({"kl": {"total": 3.0}}))
    [('kl.total', 3.0)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def text(value: Any) -> str:
    """Write a value for people: numbers with their digits, nothing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return (f"{value:.4g}" if abs(value) < 1 else f"{value:,.3f}").replace("-", "−", 1)
    if isinstance(value, list | tuple):
        return ", ".join(text(v) for v in value[:20]) + (" …" if len(value) > 20 else "")
    return str(value)


def known(value: Any) -> bool:
    """Tell whether a value is a number, and not NaN."""
    return isinstance(value, int | float) and not math.isnan(value)


def tiles(rows: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Pick the key numbers of a run."""
    tiles = []

    def add(label: str, value: str, note: str = "") -> None:
        tiles.append({"label": label, "value": value.replace("-", "−"), "note": note})

    e = dict(evaluation or {})
    split = e.get("split", "test")
    if known(e.get("nll")):
        add(f"{split} −log p(x)", f"{e['nll']:.2f}", f"± {e['nll_se']:.3f} nats, {e['num_particles']:,} particles")
    if known(e.get("elbo")):
        add(f"{split} ELBO", f"{e['elbo']:.2f}", "nats per datum")
    if not known(e.get("nll")) and known(e.get("reconstruction")):
        add(f"{split} −log p(x | z)", f"{e['reconstruction']:.2f}", "nats per datum")
    if not evaluation:
        values = [(r["validation/elbo"], r.get("epoch")) for r in rows if known(r.get("validation/elbo"))]
        if values:
            best, epoch = max(values)
            add("validation ELBO", f"{best:.2f}", f"best, epoch {epoch}; nats per datum")
    if known(e.get("kl")):
        add("KL", f"{e['kl']:.2f}", "nats per datum")
    if known(e.get("active_units")):
        add(
            "active units",
            f"{e['active_units']}",
            f"of {e['num_units']}" if known(e.get("num_units")) else "",
        )
    if known(e.get("pareto_k_bad")):
        add("k̂ above 0.7", f"{e['pareto_k_bad']:.1%}", "of the data")
    if rows:
        seconds = sum(r.get("seconds") or 0.0 for r in rows)
        add(
            "epochs",
            f"{rows[-1].get('epoch', len(rows))}",
            f"{duration(seconds)} of training" if seconds else "",
        )
    if skipped := int(sum(r.get("skipped") or 0 for r in rows)):
        add("steps skipped", f"{skipped}", "bound or gradient not finite")
    return tiles


def duration(seconds: float) -> str:
    """Write a time span."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{seconds:.1f} s"
    )


def evaluation(summary: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Turn `Evaluation.summary` into rows of name, value and meaning."""
    rows = []
    for name, value in (summary or {}).items():
        if isinstance(value, Mapping):
            for part, leaf in flatten(value):
                if not isinstance(leaf, list | tuple):
                    rows.append({"name": f"{name}.{part}", "value": text(leaf), "meaning": MEANINGS.get(name, "")})
        elif value is not None:
            rows.append({"name": name, "value": text(value), "meaning": MEANINGS.get(name, "")})
    return rows


def verdict(summary: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Say in a sentence whether the evidence estimate, and the guide, can be trusted."""
    summary = summary or {}
    if summary.get("reason"):
        return {"bad": False, "text": str(summary["reason"])}
    bad: Any = summary.get("pareto_k_bad")
    if not known(bad):
        return None
    if bad == 0:
        return {
            "bad": False,
            "text": "No datum has k̂ above 0.7: the evidence estimate and the guide can be trusted.",
        }
    if bad < 0.05:
        text = "k̂ exceeds 0.7 for {:.1%} of the data: the average can be trusted, these data cannot."
        return {"bad": False, "text": text.format(bad)}
    text = (
        "k̂ exceeds 0.7 for {:.1%} of the data: the guide misses mass of their posteriors. The true "
        "−log p(x) is likely lower than the estimate; use more particles, a richer guide or an "
        "importance-weighted objective."
    )
    return {"bad": True, "text": text.format(bad)}


def worst(table: Any, count: int = 8) -> dict[str, Any] | None:
    """Pick the data with the lowest evidence from `Evaluation.table`."""
    if table is None or not len(table):
        return None
    by = "nll" if "nll" in table and table["nll"].notna().any() else "elbo"
    if by not in table or not table[by].notna().any():
        return None
    worst = table.sort_values(by, ascending=by == "elbo").head(count)
    rows = [[text(v) for v in row] for row in worst.itertuples()]
    return {"columns": ["datum", *map(str, worst.columns)], "rows": rows}


def posterior(summary: Any, count: int = 20) -> dict[str, Any] | None:
    """Turn the head of an ArviZ summary into rows."""
    if summary is None:
        return None
    head = summary.head(count)
    shown = (
        f"The first {len(head)} of {len(summary)} latent variables" if len(summary) > len(head) else "Latent variables"
    )
    caption = f"{shown}, as ArviZ sums them up; draws are independent, so r̂ does not apply."
    rows = [[text(v) for v in row] for row in head.itertuples()]
    return {"text": caption, "columns": ["", *map(str, head.columns)], "rows": rows}
