"""`ppl-vae export`: encoder and decoder as programs that run without Pyro and without this package."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.runs.files import write_atomically

if TYPE_CHECKING:
    import torch

    from ppl_vae.datasets import Spec


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `DIR/export/encoder.pt2` and `decoder.pt2`, verified against the pair."""
    import torch

    from ppl_vae.runs.export import SIZES, export

    run, vae = opened(cfg)
    batch = random_batch(run.spec, max(SIZES), cfg.seed)
    programs = export(vae.cpu(), batch)
    encoded = programs["encoder"].module()(*batch)
    folder = run.directory / "export"
    folder.mkdir(exist_ok=True)
    paths = {}
    for name, program in programs.items():
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        paths[name] = folder / f"{name}.pt2"
        write_atomically(paths[name], buffer.getvalue())
    latents = {site: sorted(values) for site, values in encoded.items()}
    inputs = [field.name for field in run.spec.fields]
    record = {"run": str(run), **{k: str(p) for k, p in paths.items()}, "inputs": inputs, "latents": latents}
    more = "".join(f", {name}" for name in inputs[1:])
    lines = [
        f"encoder: {paths['encoder']}",
        f"decoder: {paths['decoder']}",
        f'use: torch.export.load("{paths["encoder"].name}").module()({", ".join(inputs)}) gives {latents}; '
        f'torch.export.load("{paths["decoder"].name}").module()({{site: value}}{more})',
    ]
    return Result(record=record, lines=lines)


def random_batch(spec: Spec, data: int, seed: int) -> tuple[torch.Tensor, ...]:
    """A batch inside the data's support; the data themselves are not needed."""
    import torch

    from ppl_vae.config.build import example_batch

    generator = torch.Generator().manual_seed(seed)
    x, *others = example_batch(spec, data)
    uniform = torch.rand(x.shape, generator=generator)
    draws: dict[str, Any] = {
        "binary": lambda: uniform.round(),
        "unit": lambda: uniform,
        "positive": lambda: uniform + 0.5,
        "integers": lambda: (uniform * (spec.levels or 2)).floor(),
        "counts": lambda: (uniform * 5).floor(),
        "real": lambda: torch.randn(x.shape, generator=generator),
    }
    classes = spec.num_classes or 2
    labels = [torch.randint(classes, o.shape, generator=generator).to(o.dtype) for o in others]
    return (draws[spec.support]().to(x.dtype), *labels)
