"""`ppl-vae new`: a folder to begin a project in, that trains, sweeps and is tested as it is."""

from __future__ import annotations

import keyword
import os
import shutil
import sys
import tempfile
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ppl_vae.cli.hydra import Context
from ppl_vae.cli.output import Result
from ppl_vae.errors import UsageError

TEMPLATE = Path(__file__).parents[1] / "scaffold"
NAME = "my_project"
"""What the template calls the project, in its files and their names."""

NEXT = (
    "cd {name}",
    "ppl-vae train --config-dir conf experiment={name}",
    "ppl-vae train -m --config-dir conf experiment={name} model.latent_dim=1,2,4 seed=0,1",
    "python -m pytest    # it comes with: pip install pytest",
)


def run(cfg: DictConfig, context: Context) -> Result:
    """Write the template under another name; all of it, or nothing."""
    name, folder = str(cfg.name), Path(str(cfg.name)).absolute()
    _refuse(name, folder)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}-") as aside:
        made = Path(aside) / name
        for path in sorted(path for path in TEMPLATE.rglob("*.tmpl")):
            target = made / str(path.relative_to(TEMPLATE)).removesuffix(".tmpl").replace(NAME, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text(encoding="utf-8").replace(NAME, name), encoding="utf-8")
        if folder.is_dir():
            folder.rmdir()  # it is empty
        shutil.move(made, folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    told = [line.format(name=name) for line in NEXT]
    record: dict[str, Any] = {"folder": str(folder), "files": files, "next": told}
    lines = [f"made {name}: {', '.join(files)}", "next:", *(f"  {line}" for line in told)]
    return Result(record=record, lines=lines, made=[folder])


def _refuse(name: str, folder: Path) -> None:
    """Refuse what is no name of a module, one that Python would take for another, and a folder that holds something."""
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        raise UsageError(f"got {name!r}, expected the name of a Python module: letters, digits and _, such as {NAME}")
    others = [entry for entry in sys.path if entry not in ("", str(folder.parent))]
    if name in sys.builtin_module_names or PathFinder.find_spec(name, others) is not None:
        raise UsageError(
            f"{name} is the name of an installed module, which Python would import instead; expected another"
        )
    empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
    if not empty and os.path.lexists(folder):
        raise UsageError(f"{name} is there already, expected a name that is free")
