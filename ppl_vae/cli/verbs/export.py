"""`ppl-vae export`: encoder and decoder as programs that run without Pyro and without this package."""

from __future__ import annotations

import io
from typing import Any

from omegaconf import DictConfig

from ppl_vae import files
from ppl_vae.cli.hydra import Context
from ppl_vae.cli.open_run import opened
from ppl_vae.cli.output import Result
from ppl_vae.runs.files import write_atomically
from ppl_vae.runs.run import Run


def run(cfg: DictConfig, context: Context) -> Result:
    """Write `DIR/export/encoder.pt2` and `decoder.pt2`, with `onnx=true` as `.onnx`, too; verified against the pair."""
    import torch

    from ppl_vae.runs.export import SIZES, export, trials
    from ppl_vae.runs.to_onnx import require_onnx, to_onnx

    if cfg.onnx:
        require_onnx()
    run, vae = opened(cfg, context)
    batch = some_data(run, max(SIZES))
    programs = export(vae.cpu(), batch)
    encoded = programs["encoder"].module()(*batch)
    inputs = [field.name for field in run.spec.fields]
    written = {}
    if cfg.onnx:
        given = trials(vae, batch)
        names = {"encoder": inputs, "decoder": [*given["decoder"][0][0], *inputs[1:]]}
        written = {f"{n}.onnx": to_onnx(n, program, given[n], names[n]) for n, program in programs.items()}
    folder = files.folder(run.directory / "export")
    paths = {}
    for name, program in programs.items():
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        paths[name] = folder / f"{name}.pt2"
        write_atomically(paths[name], buffer.getvalue())
    for name, content in written.items():
        paths[name] = folder / name
        write_atomically(paths[name], content)
    latents = {site: sorted(values) for site, values in encoded.items()}
    record = {"run": str(run), **{k: str(p) for k, p in paths.items()}, "inputs": inputs, "latents": latents}
    more = "".join(f", {name}" for name in inputs[1:])
    lines = [
        f"encoder: {paths['encoder']}",
        f"decoder: {paths['decoder']}",
        f'use: torch.export.load("{paths["encoder"].name}").module()({", ".join(inputs)}) gives {latents}; '
        f'torch.export.load("{paths["decoder"].name}").module()({{site: value}}{more})',
    ]
    if written:
        lines += [f"{name}: {paths[name]}" for name in written]
        outputs = ", ".join(f"{site}.{key}" for site, keys in latents.items() for key in keys)
        lines += [
            f"in onnxruntime: InferenceSession(…).run(None, {{{', '.join(inputs)}}}) of the encoder gives {outputs}"
        ]
    return Result(record=record, lines=lines, made=list(paths.values()))


def some_data(run: Run, size: int) -> tuple[Any, ...]:
    """So many real data: those that the run keeps, again and again, or the first of its training data."""
    import torch

    from ppl_vae.core.batch import batch_length, take

    batch = run.data.train[:size].batch() if run.reference is None else run.reference
    return take(batch, torch.arange(size) % (batch_length(batch) or 1))
