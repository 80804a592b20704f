"""The contents of a run's page, in their order: each diagnostic with its sentence, figures and explained numbers."""

import base64
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from ppl_vae.diagnostics.judgements import known, without_density
from ppl_vae.diagnostics.latents import ACTIVE
from ppl_vae.display import figures
from ppl_vae.reports import charts, findings, tables
from ppl_vae.reports.hardest import SHOWN, Hard, hardest_rows
from ppl_vae.reports.lines import number
from ppl_vae.reports.parts import Part, Section, Source
from ppl_vae.reports.rank_charts import rank_charts
from ppl_vae.reports.tables import text

TITLES = {"dependencies": "Dependencies", "traversals": "Traversals", "latent_map": "Codes in the plane"}
DRAWN = ("learning_curves", "pareto_k", "kl_per_unit")
"""Figures that a page has as drawings of its own."""


def sections(source: Source) -> list[Section]:
    """All of a page, in its order."""
    s, used = source, set[str]()

    def finding(name: str) -> list[Part]:
        part = _finding(s, name)
        used.update(picture for picture, _ in part.pictures)
        return [part] if name in s.diagnostics or part.pictures else []

    def make(draw: Callable[..., Part], anchor: str, *words: Any) -> Part:
        """A part that cannot be made says so, and the page stands."""
        try:
            part = draw(s, anchor, *words)
            for chart in part.charts:
                chart.svg  # noqa: B018 - drawn here, so that a drawing that fails is one part's
        except Exception as error:
            part = Part(anchor, note=f"{type(error).__name__}: {error}")
        used.update(name for name, _ in part.pictures)
        return part

    ranked = [make(_calibration, "found-calibration")] if s.ranks else finding("calibration")
    none = without_density(s.evaluation or {})
    ranked = ranked or ([] if none else [_todo("calibration", "The guide has not been calibrated.", "calibrate")])
    words = "" if none else "'scores=[checks,samples]'"
    asked = ("Data have not been ranked among samples.", "prior" if none else "evaluate", words)
    checked = finding("checks") or [_todo("checks", *asked)]
    units = make(_units, "units")
    moved = make(_pictures, "traversals", "One unit moves, the others stay; those with the largest KL come first.")
    guide = make(
        _pictures, "dependencies", "A dot joins what is above it to what is on its right, which depends on it."
    )
    shown = any(" by " in (s.alts.get(n) or " by ") for n in s.figures if n.startswith("latent_map"))
    labels = "Labels are shown to the reader only, where the model never saw them." if shown else ""
    plane = make(_pictures, "latent_map", labels)
    codes = [part for name in ("latents", "probe", "disentanglement") for part in finding(name)]
    evidence = [make(_evidence, "k-hat"), *finding("ais"), *finding("gaps"), make(_hardest, "hardest")]
    found = [
        Section("training", "Training", [make(_training, "curves")]),
        Section("evidence", "Evidence", evidence),
        Section("intervals", "Intervals", [*ranked, make(_posterior, "posterior")]),
        Section("latents", "Latent space", [guide, units, moved, plane, *codes]),
        Section("samples", "Samples", [make(_samples, "drawn"), *checked, *finding("samples")]),
        Section("reconstructions", "Reconstructions", [make(_reconstructions, "rebuilt")]),
    ]
    further = [part for name in s.diagnostics if name not in findings.KNOWN for part in finding(name)]
    left = [name for name in s.figures if name not in used and name not in DRAWN]
    for place, name in enumerate(left):
        pictures = [(name, s.alts.get(name) or name)]
        further.append(Part(f"figure-{place}", pictures=pictures, caption=name.replace("_", " ")))
    return [*found, Section("further", "Further", further)] if further else found


def _todo(anchor: str, what: str, verb: str, words: str = "") -> Part:
    return Part(f"found-{anchor}", findings.title(anchor), todo=(what, verb, words))


def _finding(s: Source, name: str) -> Part:
    told, finding = findings.KNOWN.get(name), s.diagnostics.get(name, {})
    sentence = findings.sentence(name, finding)
    pictures = [n for n in s.figures if told is not None and told.figures and fnmatchcase(n, told.figures)]
    title = findings.title(name)
    return Part(
        "found-" + "".join(c if c.isalnum() else "-" for c in name),
        title,
        sentence,
        pictures=[(n, " ".join(filter(None, (f"{title} ({n}):", s.alts.get(n, ""), sentence)))) for n in pictures],
        caption=told.caption if told is not None else "",
        rows=findings.rows(name, finding),
    )


def _training(s: Source, anchor: str) -> Part:
    drawn = charts.learning(s.rows)
    if not drawn:
        return Part(anchor, note="No epoch has been recorded yet.")
    told, best = "", charts.best_epoch(s.rows)
    if best:
        epoch, value, name = best
        last = charts.last(s.rows)
        told = f"The {name} is best after epoch {number(epoch)} of {number(last)} with {text(value)} nats per datum"
        told += "; these weights are kept unless the config says otherwise."
        gap = charts.generalization(s.rows, epoch)
        if gap is not None:
            way = "below" if gap >= 0 else "above"
            told += f" There the validation ELBO lies {text(abs(gap))} {way} the one of training."
    return Part(
        anchor,
        sentence=told or "No validation bound was recorded.",
        charts=drawn,
        caption="All unweighted (β = 1) unless a line says otherwise; higher bounds are better. "
        + ("The drawing of the bound may leave out where training began. " if len(s.rows) >= charts.EARLY else "")
        + "The dot marks the best weights.",
    )


def _evidence(s: Source, anchor: str) -> Part:
    e = s.evaluation
    if not e:
        return Part(anchor, todo=("Not evaluated yet.", "evaluate", ""))
    part = Part(
        anchor, rows=tables.evaluation(e), sentence=f"There is no evidence: {e['reason']}." if e.get("reason") else ""
    )
    if known(e.get("nll")):
        ((_, told),) = figures({k: e[k] for k in ("nll", "nll_se", "nll_se_data") if known(e.get(k))})
        part.sentence = f"−log p(x) of {e.get('n', 'the')} {e.get('split', 'test')} data is {told.replace('-', '−')} "
        part.sentence += "nats per datum"
        part.sentence += f"; the ELBO is {text(e['gap'])} nats below log p(x)." if known(e.get("gap")) else "."
    if s.table is not None and "pareto_k" in s.table and s.table["pareto_k"].notna().any():
        chart, told = charts.pareto_k(s.table["pareto_k"])
        part.charts, part.sentence = [chart], f"{part.sentence} {told}".strip()
        part.caption = (
            "k̂ is the tail shape of the importance weights, datum by datum: beyond the dashed line the guide "
        )
        part.caption += "misses mass of the posterior, and the evidence estimate is unreliable."
    return part


def _hardest(s: Source, anchor: str) -> Part:
    places = [] if s.table is None else hardest_rows(s.table)
    if not places:
        return Part(anchor)
    shown = [c for c in SHOWN if c in s.table and s.table[c].notna().any()]
    beside = {hard.place: hard for hard in s.hardest}
    by = next(c for c in ("nll", "elbo", "log_likelihood") if c in shown)
    pictures, words = (any(getattr(h, k) for h in s.hardest) for k in ("data", "words"))
    rows = []
    for place in places:
        hard = beside.get(place, Hard(place))
        name = text(s.table.index[place])
        cells: list[Any] = [name]
        if pictures:
            cells += [_cell(hard.data, f"datum {name}"), _cell(hard.rebuilt, f"reconstruction of datum {name}")]
        cells += [text(s.table[c].iloc[place]) for c in shown]
        rows.append([*cells, hard.words] if words else cells)
    columns = [
        "datum",
        *(["data", "rebuilt"] if pictures else []),
        *map(str, shown),
        *(["furthest off"] if words else []),
    ]
    value, mean = float(s.table[by].iloc[places[0]]), float(s.table[by].mean())
    told = f"Datum {text(s.table.index[places[0]])} is the hardest: {by} {text(value)}, where the mean is {text(mean)}."
    return Part(anchor, "The data the model finds hardest", told, grid={"columns": columns, "rows": rows})


def _cell(png: bytes, alt: str) -> Any:
    return (base64.b64encode(png).decode("ascii"), alt) if png else "–"


def _calibration(s: Source, anchor: str) -> Part:
    """The finding with drawings in place of its pictures."""
    part = _finding(s, "calibration")
    part.charts = rank_charts(s.ranks)
    return part


def _posterior(s: Source, anchor: str) -> Part:
    found = tables.posterior(s.posterior)
    if found is None:
        return Part(anchor, "Posterior draws", todo=("No posterior draws yet.", "posterior", ""))
    return Part(anchor, "Posterior draws", found["text"], grid=found)


def _units(s: Source, anchor: str) -> Part:
    part = Part(anchor, "What each unit tells", note=s.notes.get("latents", ""))
    if s.units is not None:
        chart, part.sentence = charts.units(s.units)
        part.charts = [chart] if chart is not None else []
    if not part.charts and "kl_per_unit" in s.figures:
        part.pictures = [("kl_per_unit", s.alts.get("kl_per_unit") or "KL per latent unit")]
    if part.charts or part.pictures:
        part.caption = f"A unit is active where the variance over data of E[z | x] exceeds {ACTIVE:g}; others are pale."
    part.grid = tables.sites(s.units, s.evaluation)
    if not part.sentence and part.grid is None and not part.pictures and not part.note:
        part.todo = ("Units have not been looked at.", "evaluate", "")
    return part


def _pictures(s: Source, anchor: str, caption: str) -> Part:
    title = TITLES[anchor]
    names = [n for n in s.figures if n == anchor or n.startswith((f"{anchor}.", f"{anchor}_"))]
    if not names and not s.notes.get(anchor):
        return Part(anchor)
    seen = findings.sentence("probe", s.diagnostics.get("probe", {})) if anchor == "latent_map" else ""
    pictures = [(n, _alt(s.alts.get(n) or f"{title}: {n}", seen)) for n in names]
    return Part(anchor, title, pictures=pictures, caption=caption if names else "", note=s.notes.get(anchor, ""))


def _alt(shown: str, seen: str) -> str:
    """A text in place of a picture: its kind, and a sentence with numbers where there is one."""
    return f"{shown.rstrip('.')}. {seen}".strip()


def _samples(s: Source, anchor: str) -> Part:
    for name, caption in (
        ("samples", "z ~ p(z), then the mean of p(x | z)."),
        ("sample_marginals", "z ~ p(z), x ~ p(x | z), against the data, feature by feature."),
    ):
        if name in s.figures:
            seen = findings.sentence("samples", s.diagnostics.get("samples", {}))
            return Part(anchor, pictures=[(name, _alt(s.alts.get(name) or caption, seen))], caption=caption)
    return Part(anchor, note=s.notes.get("samples") or "No samples: the pair could not be loaded.")


def _reconstructions(s: Source, anchor: str) -> Part:
    if "reconstructions" not in s.figures:
        return Part(anchor, note=s.notes.get("reconstructions") or "No reconstructions: the data are not at hand.")
    lost = (s.evaluation or {}).get("reconstruction")
    told = f"−log p(x | z) is {text(float(lost))} nats per datum." if known(lost) and lost is not None else ""
    alt = _alt(s.alts.get("reconstructions") or "Data and their reconstructions", told)
    caption = "Held-out data and the mean of p(x | z), z ~ q(z | x)."
    return Part(anchor, sentence=told, pictures=[("reconstructions", alt)], caption=caption)
