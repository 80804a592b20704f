"""The form of a run directory: its number, and what brings the config of an older run to it.

`run.json` says the number as `schema`; runs from before it was written are of schema 0. What a config of schema n says
in another way than one of n + 1 is the business of the n-th of `MIGRATIONS`, which gives a changed copy: files of a run
that is opened stay as they are, and a run that is gone on with is written anew in the present form. Names of tensors
are no matter of the config, and are brought up to date by the modules that bear them (`ppl_vae.nn.formerly`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ppl_vae.config.parts import with_parts
from ppl_vae.config.targets import with_present_names
from ppl_vae.errors import RunError

MIGRATIONS: tuple[Callable[[Any], Any], ...] = (
    with_present_names,  # 0: likelihoods lay in `ppl_vae.conditionals`, loggers in `ppl_vae.loggers`
    with_parts,  # 1: `model.prior` was a name
)
"""The n-th leads from schema n to schema n + 1; each may be applied to what it has been applied to."""

SCHEMA = len(MIGRATIONS)
"""The schema of the runs that are written now."""


def schema_of(record: Mapping[str, Any], path: Path) -> int:
    """The schema of a run.

    Args:
        record: `run.json`.
        path: of it.

    Raises:
        RunError: it is none that this version knows.
    """
    found = record.get("schema", 0)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise RunError(f"{path} says schema {found!r:.40}, expected a whole number from 0 to {SCHEMA}: it is damaged")
    if found > SCHEMA:
        versions = record.get("versions")
        by = versions.get("ppl_vae") if isinstance(versions, Mapping) else None
        raise RunError(
            f"{path} is of schema {found}, written by a later version of ppl_vae ({by or 'unknown'!s:.40}); this one "
            f"reads up to schema {SCHEMA}. Open it with that version, or a newer one: pip install -U ppl-vae"
        )
    return found


def in_present_form(config: Any, record: Mapping[str, Any], path: Path) -> Any:
    """The config of a run as it would be written now; a copy.

    Args:
        config: plain dicts and lists.
        record: `run.json`.
        path: of it.

    Example:
        >>> old = {"likelihood": {"_target_": "ppl_vae.conditionals.Normal"}}
        >>> in_present_form(old, {"status": "finished"}, Path("run.json"))
        {'likelihood': {'_target_': 'ppl_vae.likelihoods.Normal'}}
    """
    for migration in MIGRATIONS[schema_of(record, path) :]:
        config = migration(config)
    return config
