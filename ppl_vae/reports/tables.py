"""Numbers as the rows, tiles and sentences of a report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ppl_vae.core.evidence import THRESHOLD
from ppl_vae.diagnostics.judgements import known, percent
from ppl_vae.diagnostics.latents import ACTIVE

Row = dict[str, str]
"""`name`, `value` and `meaning` of a number."""

MEANINGS: Mapping[str, str] = {
    "nll": "−log p(x), importance-weighted estimate, nats per datum; lower is better",
    "nll_se": "its Monte-Carlo standard error: how much another seed would change it",
    "nll_se_data": "its sampling standard error: how much another test set of this size would change it",
    "elbo": "evidence lower bound at β = 1, nats per datum",
    "elbo_se": "its Monte-Carlo standard error",
    "kl": "KL(q(z | x) ‖ p(z)), nats per datum",
    "kl_per_site": "the same, site by site",
    "kl_global": "KL of a latent shared by all data, nats in all",
    "active_units": f"latent units whose posterior mean varies over data by more than {ACTIVE:g}",
    "num_units": "latent units in all",
    "pareto_k": "tail shape k̂ of the importance weights, mean over data",
    "pareto_k_max": "its largest value",
    "pareto_k_bad": f"fraction of data with k̂ > {THRESHOLD}",
    "ess": "effective number of particles, mean over data",
    "gap": "ELBO below the evidence: what the guide loses, nats per datum",
    "reconstruction": "−log p(x | z), nats per datum",
    "num_particles": "importance samples per datum",
    "n": "data evaluated",
    "seed": "seed of the particles",
    "split": "the part of the data",
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
        value += 0.0  # a negative zero is zero
        return (f"{value:.4g}" if abs(value) < 1 else f"{value:,.3f}").replace("-", "−", 1)
    if isinstance(value, list | tuple):
        return ", ".join(text(v) for v in value[:20]) + (" …" if len(value) > 20 else "")
    return str(value)


def tiles(rows: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Pick the key numbers of a run."""
    tiles = []

    def add(label: str, value: str, note: str = "") -> None:
        tiles.append({"label": label, "value": value.replace("-", "−"), "note": note})

    e = dict(evaluation or {})
    split = e.get("split", "test")
    if known(e.get("nll")):
        error = f"± {e['nll_se']:.2g} nats" if known(e.get("nll_se")) else "nats per datum"
        particles = f", {e['num_particles']:,} particles" if known(e.get("num_particles")) else ""
        add(f"{split} −log p(x)", f"{e['nll']:.2f}", error + particles)
    if known(e.get("elbo")):
        add(f"{split} ELBO", f"{e['elbo']:.2f}", "nats per datum")
    if not known(e.get("nll")) and known(e.get("reconstruction")):
        add(f"{split} −log p(x | z)", f"{e['reconstruction']:.2f}", "nats per datum")
    if not evaluation:
        values = [(r["validation/elbo"], r.get("epoch")) for r in rows if known(r.get("validation/elbo"))]
        if values:
            best, epoch = max(values, key=lambda pair: pair[0])
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
        add(f"k̂ above {THRESHOLD}", percent(e["pareto_k_bad"]), "of the data")
    if rows:
        seconds = _total(rows, "seconds")
        add(
            "epochs",
            f"{rows[-1].get('epoch', len(rows))}",
            f"{duration(seconds)} of training" if seconds else "",
        )
    if skipped := _total(rows, "skipped"):
        add("steps skipped", f"{skipped:.0f}", "bound or gradient not finite")
    return tiles


def _total(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    """The sum of a column over those rows that hold a number there."""
    return float(sum(float(r[key]) for r in rows if known(r.get(key))))


def duration(seconds: float) -> str:
    """Write a time span; a dash where it is none."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{seconds:.1f} s"
    )


def evaluation(summary: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Turn `Evaluation.summary` into rows of name, value and meaning, without what is not known."""
    rows = []
    for name, value in (summary or {}).items():
        if isinstance(value, Mapping):
            for part, leaf in flatten(value):
                if not isinstance(leaf, list | tuple) and leaf == leaf:
                    rows.append({"name": f"{name}.{part}", "value": text(leaf), "meaning": MEANINGS.get(name, "")})
        elif value is not None and value == value and name != "reason":  # which a sentence says
            rows.append({"name": name, "value": text(value), "meaning": MEANINGS.get(name, "")})
    return rows


def sites(table: Any, summary: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Every latent site with what it costs: a row a site, of `Evaluation.units` and its summary."""
    e = dict(summary or {})
    local, shared = (v if isinstance(v, Mapping) else {} for v in (e.get("kl_per_site"), e.get("kl_global")))
    counted: dict[str, list[bool]] = {}
    if table is not None and {"site", "active"} <= {*table}:
        for site, active in zip(table["site"], table["active"], strict=True):
            counted.setdefault(str(site), []).append(str(active) == "True")
    names = list(dict.fromkeys([*local, *counted, *shared]))
    if not names:
        return None
    total = sum(v for v in local.values() if known(v))
    rows = []
    for name in names:
        units, kl = counted.get(name), local.get(name)
        share = f"{kl / total:.1%}" if known(kl) and total > 0 else "–"
        all_data = text(shared[name]) if name in shared else "–"
        active = "–" if units is None else f"{sum(units)} of {len(units)}"
        rows.append([name, active, text(kl), share, all_data])
    columns = ["site", "active units", "KL, nats per datum", "share of the KL", "KL of a latent of all data, nats"]
    if not shared:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return {"columns": columns, "rows": rows}


def posterior(summary: Any, count: int = 24) -> dict[str, Any] | None:
    """Rows of an ArviZ summary, the first ones of each site."""
    if summary is None:
        return None
    names = [str(name).split("[", 1)[0] for name in summary.index]
    each = max(1, count // max(1, len(set(names))))
    seen: dict[str, int] = {}
    kept: list[int] = []
    for place, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= each and len(kept) < 4 * count:
            kept.append(place)
    head = summary.iloc[kept]
    of = f"{len(seen)} sites: {', '.join(list(seen)[:12])}{' …' if len(seen) > 12 else ''}" if len(seen) > 1 else ""
    shown = f"{len(head)} of {len(summary)} latent variables" if len(head) < len(summary) else "Latent variables"
    shown += f", the first {each} of each of {of}," if of else ""
    caption = f"{shown} as ArviZ sums them up; draws are independent, so r̂ does not apply."
    rows = [[text(v) for v in row] for row in head.itertuples()]
    return {"text": caption, "columns": ["", *map(str, head.columns)], "rows": rows}
