"""Where the numbers of a page come from: the command, the commit, the machine, versions and times."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ppl_vae.diagnostics.judgements import known
from ppl_vae.reports.tables import Row, duration, flatten, text

NOT_RECORDED = "not recorded"


def typed(command: Any, verb: str = "train") -> str:
    """A command as it is typed again, from the words that a process was started with.

    >>> typed(["-m", "ppl_vae", "train", "model.latent_dim=6", "name=my run"])
    "ppl-vae train model.latent_dim=6 'name=my run'"
    """
    if not isinstance(command, Sequence) or isinstance(command, str) or not command:
        return ""
    words = [str(word) for word in command]
    if verb in words:
        return shlex.join(["ppl-vae", *words[words.index(verb) :]])
    return shlex.join(["python", *words])


def provenance(record: Mapping[str, Any]) -> list[Row]:
    """Rows of `name` and `value` out of `run.json`, what is missing said to be so."""
    git, machine = _part(record, "git"), _part(record, "machine")
    kind = " · ".join(
        [
            *(str(machine[k]) for k in ("system", "processor") if machine.get(k)),
            *([f"{machine['cores']} cores"] if machine.get("cores") else []),
        ]
    )
    device = str(record.get("device") or "")
    threads = record.get("threads")
    used = device + (f", {threads} thread{'s' * (threads != 1)}" if device and known(threads) else "")
    seconds: Any = record.get("seconds")
    command = typed(record.get("command"), str(record.get("verb") or "train"))
    took = f", {duration(float(seconds))}" if known(seconds) else ""
    rows = {
        "command": command or f"{NOT_RECORDED}: the run was made in Python",
        "commit": str(git.get("commit") or f"{NOT_RECORDED}: the folder was under no git"),
        "machine": kind or f"{NOT_RECORDED}, as by earlier versions",
        "device": used or NOT_RECORDED,
        "time": f"{_moment(record.get('started'))} to {_moment(record.get('finished'))}{took}",
        "seed": text(record.get("seed")),
    }
    return [{"name": k, "value": v, "meaning": ""} for k, v in rows.items()]


def sweep(record: Mapping[str, Any]) -> list[Row]:
    """The same of a sweep, as far as all of its jobs have it in common."""
    rows = {row["name"]: row for row in provenance(record)}
    rows["time"]["value"] = f"started {_moment(record.get('started'))}" if record.get("started") else NOT_RECORDED
    return [rows[name] for name in ("command", "commit", "machine", "time")]


def versions(record: Mapping[str, Any]) -> list[Row]:
    """Rows of the versions of packages."""
    return [{"name": k, "value": text(v), "meaning": ""} for k, v in flatten(_part(record, "versions"))]


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping within a record; an empty one where it is not there, or something else is."""
    found = record.get(name)
    return found if isinstance(found, Mapping) else {}


def _moment(value: Any) -> str:
    """A time to the minute, in UTC."""
    try:
        return f"{datetime.fromisoformat(str(value)):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return "?" if value is None else str(value)
