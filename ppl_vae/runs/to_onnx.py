"""The two halves of a pair as ONNX files, held to the programs of `torch.export` that they are made from."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.compile.substitute import Original, attempt, verify
from ppl_vae.compile.verify import CaptureError
from ppl_vae.errors import CheckError, UsageError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PACKAGES = ("onnx", "onnxscript", "onnxruntime")

DATA = "data"
"""The name of the axis whose size is free."""

Inputs = tuple[Any, ...]


def require_onnx() -> None:
    """Refuse at once where a package is not there.

    Raises:
        UsageError: with what to install.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UsageError(f"onnx=true needs {', '.join(missing)}, not installed: pip install 'ppl-vae[onnx]'")


def to_onnx(half: str, program: ExportedProgram, trials: Sequence[Inputs], names: Sequence[str]) -> bytes:
    """Make the ONNX file of a half, for batches of any size, and compare it in onnxruntime.

    Inputs are named as the tensors of a batch and the sites of latents are, outputs `SITE.PARAMETER`: `z.loc`,
    `z.scale`. Every number that onnxruntime gives on every trial is that of the program to rounding,
    |a − b| ≤ 10³ ε (|a| + max |a|) with ε of its dtype and max |a| at least 0.1 (`compile.verify.compare`).

    Args:
        half: `encoder` or `decoder`, for messages.
        program: as `ppl_vae.runs.export.export` gives it.
        trials: its inputs, of several sizes of batches.
        names: of the tensors of the inputs, in order; those of a dict of latents are its keys.

    Raises:
        UsageError: a package is not there.
        CheckError: an operation that ONNX has not, or other numbers; names it.
    """
    require_onnx()
    import onnxruntime

    outputs = [f"{site}.{key}" for site, values in program.module()(*trials[0]).items() for key in values]
    try:
        with _quiet():
            model = attempt("written as ONNX", lambda: _model(program, names, outputs))
            written: bytes = attempt("written as ONNX", model.SerializeToString)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            session = attempt(
                "run by onnxruntime",
                lambda: onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"]),
            )
            verify(
                Original(_told(program.module()), least=0.1),
                lambda inputs: _run(session, names, inputs),
                trials,
                "written as ONNX",
            )
    except CaptureError as error:
        raise CheckError(
            f"the {half} of this pair cannot be an ONNX file: {error}. Its program of torch.export can be had: leave "
            "out onnx=true."
        ) from error
    return written


def _model(program: ExportedProgram, names: Sequence[str], outputs: Sequence[str]) -> Any:
    """The checked proto, its axis of data named, without the places of sources that torch writes into it."""
    import onnx

    try:
        made = torch.onnx.export(program, dynamo=True, verbose=False, input_names=[*names], output_names=[*outputs])
    except Exception as error:
        if (operation := _unknown(error)) is None:
            raise
        raise CaptureError(f"ONNX has nothing for {operation}") from error
    assert made is not None
    model = made.model_proto
    graph = model.graph
    free = {d.dim_param for value in graph.input for d in value.type.tensor_type.shape.dim if d.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for d in value.type.tensor_type.shape.dim:
            if d.dim_param:
                d.dim_param = re.sub(r"\w+", lambda word: DATA if word[0] in free else word[0], d.dim_param)
    for holder in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del holder.metadata_props[:]
        holder.ClearField("doc_string")
    onnx.checker.check_model(model)
    return model


def _unknown(error: BaseException | None) -> str | None:
    """The operation that torch's exporter names where it knows no counterpart, somewhere among the causes."""
    while error is not None:
        if found := re.search(
            r"No (?:ONNX function|decompositions).*?OpOverload\(op='([\w.]+)'", str(error), re.DOTALL
        ):
            return found[1]
        error = error.__cause__
    return None


def _told(run: Callable[..., Mapping[str, Mapping[str, Tensor]]]) -> Callable[[Inputs], dict[str, Tensor]]:
    return lambda inputs: {f"{site}.{key}": v for site, values in run(*inputs).items() for key, v in values.items()}


def _run(session: Any, names: Sequence[str], inputs: Inputs) -> dict[str, Tensor]:
    """The results of onnxruntime; inputs on which nothing depends are not in the file."""
    tensors = [t for part in inputs for t in (part.values() if isinstance(part, Mapping) else (part,))]
    given = {name: tensor.detach().contiguous().numpy() for name, tensor in zip(names, tensors, strict=True)}
    found = session.run(None, {value.name: given[value.name] for value in session.get_inputs()})
    return {value.name: torch.from_numpy(array) for value, array in zip(session.get_outputs(), found, strict=True)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch's exporter tells of packages that are not there, and are not needed."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
