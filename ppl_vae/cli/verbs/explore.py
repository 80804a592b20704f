"""`ppl-vae explore`: one offline page on which a trained pair is explored."""

from __future__ import annotations

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.new_data import asked
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.cli.progress import say
from ppl_vae.runs.files import write_atomically


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `DIR/explore.html`."""
    from ppl_vae.reports.explorer import explore, explorer_page, require_bokeh

    require_bokeh()
    run, vae = opened(cfg, context)
    data = asked(cfg, run)
    found = explore(
        vae,
        data.split,
        run.spec,
        most=cfg.data,
        num_particles=cfg.num_particles,
        chains=cfg.chains,
        units=cfg.units,
        site=cfg.site,
        seed=cfg.seed,
        progress=lambda what: say(f"ppl-vae explore: {what} …"),
    )
    found.rows = data.rows[: len(found.x)]
    title = f"{run.directory.name}: {found.site} of {len(found.x)} data ({data.name})"
    facts = {"model": str(run.plain_config["model"].get("_target_", "")).rpartition(".")[2], "run": run.directory.name}
    path = run.directory / "explore.html"
    write_atomically(path, explorer_page(found, title, facts))
    decoder = "in the page" if found.program else f"ahead, since {found.why}"
    record = {"run": str(run), "page": str(path), "data": len(found.x), "site": found.site, "decodes": decoder}
    lines = [f"page: {path} ({len(found.x)} data, {found.site}; decoded {decoder})"]
    return Result(record=record, lines=lines, made=[path])
