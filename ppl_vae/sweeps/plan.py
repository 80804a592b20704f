"""The plan of a sweep, `sweep.json`: which jobs it consists of, written before the first of them begins."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from omegaconf import DictConfig, OmegaConf

from ppl_vae import files
from ppl_vae.errors import RunError
from ppl_vae.files import seal
from ppl_vae.files.inside import content
from ppl_vae.runs import trust
from ppl_vae.runs.files import jsonable, write_atomically
from ppl_vae.runs.plain import LARGEST, parse
from ppl_vae.runs.recorder import read_json
from ppl_vae.runs.run import SWEEP

PLAN, MULTIRUN = SWEEP
SUBDIR = "${hydra.job.num}"
"""Where Hydra puts a job in its sweep unless told otherwise."""

_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
_NOT_KEPT = ("hydra.sweep.dir", "hydra.run.dir", "hydra.mode")


def key(override: str) -> str:
    """The key of an override: `+model.latent_dim=3` is one of `model.latent_dim`."""
    return override.split("=", 1)[0].lstrip("+~")


@dataclass(frozen=True)
class PlannedJob:
    """One job of a plan.

    Args:
        number: counted from 0.
        overrides: all that it is told, as it is told to Hydra: `ppl-vae VERB OVERRIDES` is the same run alone.
        choices: the option of each group, such as `{"model": "vae"}`.
    """

    number: int
    overrides: tuple[str, ...]
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The jobs that a sweep was asked for; not how far they have come, see `Sweep`.

    Args:
        jobs: in the order of their numbers.
        complete: these are all jobs; False for a sweeper that decides as it goes, whose plan grows with each batch.
        verb: of the command line.
        overrides: as typed, `seed=0,1` and all, without those of Hydra's own keys.
        hydra: the typed overrides of Hydra's own keys, but for the folder.
        flags: the typed flags, such as `--config-dir=conf`.
        subdir: the folder of a job in the sweep's, as Hydra is told it.
        command: the whole command line.
        sweeper: the class that chose the jobs.
        started_in: the working directory, which relative paths are relative to.
        started: when, in ISO's form; empty where that is not known.
        resumed: when it was gone on with.
        versions: of Python and the packages.
        search: what a sweeper of ours goes by, and its jobs too; empty for any other.
        why: why the plan that was read is not taken for one that was made here; empty: it was, see `runs.trust`.
    """

    jobs: tuple[PlannedJob, ...] = ()
    complete: bool = True
    verb: str = "train"
    overrides: tuple[str, ...] = ()
    hydra: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    subdir: str = SUBDIR
    command: tuple[str, ...] = ()
    sweeper: str = _BASIC
    started_in: str = ""
    started: str = ""
    resumed: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @cached_property
    def varying(self) -> tuple[str, ...]:
        """The keys that are told differently to different jobs (of a single job: those that were not typed as is)."""
        told: dict[str, set[str | None]] = {}
        for job in self.jobs:
            for override in job.overrides:
                told.setdefault(key(override), set())
        if len(self.jobs) < 2:
            return tuple(key(o) for job in self.jobs for o in job.overrides if o not in self.overrides)
        for job in self.jobs:
            mine = {key(o): o for o in job.overrides}
            for name, values in told.items():
                values.add(mine.get(name))
        return tuple(name for name, values in told.items() if len(values) > 1)

    def own(self, job: PlannedJob) -> tuple[str, ...]:
        """Those of a job's overrides that set it apart from the others, such as `("model.latent_dim=8", "seed=2")`."""
        return tuple(o.removeprefix("++") for o in job.overrides if key(o) in self.varying)  # `++` is ours

    def folder(self, number: int) -> str | None:
        """The name of a job's folder; None where only the job itself can tell."""
        return str(number) if self.subdir == SUBDIR else None

    def grown(self, jobs: Sequence[PlannedJob]) -> Plan:
        """The plan with more jobs, or the same ones anew."""
        known = {job.number: job for job in self.jobs} | {job.number: job for job in jobs}
        return replace(self, jobs=tuple(known[n] for n in sorted(known)))

    def changed(self, overrides: Sequence[str], hydra: Sequence[str] = ()) -> Plan:
        """The plan with these overrides in place of those of the same keys, for each job; and those of Hydra's keys."""

        def put(told: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
            keys = {key(o) for o in new}
            return (*(o for o in told if key(o) not in keys), *new)

        if not overrides and not hydra:
            return self
        chosen = {key(o): o.partition("=")[2] for o in overrides}
        jobs = tuple(
            replace(
                job,
                overrides=put(job.overrides, overrides),
                choices={g: chosen.get(g, option) for g, option in job.choices.items()},
            )
            for job in self.jobs
        )
        kept = self.hydra
        if any(key(o) == "hydra/launcher" for o in hydra):  # another launcher has keys of its own
            kept = tuple(o for o in kept if not key(o).startswith("hydra.launcher."))
        return replace(self, jobs=jobs, overrides=put(self.overrides, overrides), hydra=put(kept, hydra))

    def write(self, directory: Path) -> None:
        """Write `sweep.json`, in full or not at all."""
        told = {k: v for k, v in jsonable(asdict(self)).items() if k != "why"}
        with contextlib.suppress(trust.NoKeyError):  # each run says so
            told["seal"] = trust.seal(_whole(told), [])
        write_atomically(directory / PLAN, seal.sealed_json(told, indent=1), listed=False)

    @classmethod
    def read(cls, directory: Path) -> Plan | None:
        """The plan of a folder; None where it holds none.

        A sweep of before there were plans is told by Hydra's own note of it, which has the command line.

        Raises:
            RunError: the file is damaged.
        """
        path = directory / PLAN
        if not files.is_there(path):
            return _of_note(directory / MULTIRUN)
        what = "the plan of a sweep that train wrote"
        try:
            found: dict[str, Any] = read_json(path, what, _Written)
            why = _standing(found.pop("seal", None), found)
            jobs = tuple(PlannedJob(j["number"], tuple(j["overrides"]), j["choices"]) for j in found["jobs"])
        except FileNotFoundError as error:
            raise RunError(f"{path} cannot be read ({error}); expected {what}") from None
        except KeyError as error:
            raise RunError(f"{path} cannot be read (it has no entry {error}); expected {what}") from None
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in _FIELDS}
        return cls(jobs=jobs, **known, why=why)

    @classmethod
    def of_hydra(cls, config: DictConfig, loader: Any = None) -> Plan:
        """The plan that Hydra's own config of a sweep describes.

        Args:
            config: composed for the sweep as a whole; needs the part `hydra` only.
            loader: Hydra's, which knows the options of groups (`model=glob(*)`).
        """
        return cls._of_hydra(OmegaConf.to_container(config.hydra, resolve=False), loader)

    @classmethod
    def _of_hydra(cls, hydra: Any, loader: Any = None) -> Plan:
        sweeper = str(hydra["sweeper"]["_target_"])
        typed = tuple(str(o) for o in hydra["overrides"]["task"])
        plan = cls(
            complete=sweeper == _BASIC,
            verb=str(hydra["job"]["name"]),
            overrides=typed,
            hydra=tuple(o for o in map(str, hydra["overrides"]["hydra"]) if key(o) not in _NOT_KEPT),
            subdir=str(hydra["sweep"]["subdir"]),
            sweeper=sweeper,
            started_in=str(hydra["runtime"]["cwd"]),
        )
        if not plan.complete:
            return plan
        params = [f"{k}={v}" for k, v in (hydra["sweeper"].get("params") or {}).items()]
        return replace(plan, jobs=planned(_product([*params, *typed], loader), options(hydra["runtime"]["choices"])))


class _WrittenJob(TypedDict):
    number: int
    overrides: list[str]
    choices: dict[str, str]


class _Written(TypedDict, total=False):
    """The form of `sweep.json`: the fields of `Plan`, and the seal of what was made here."""

    jobs: list[_WrittenJob]
    complete: bool
    verb: str
    overrides: list[str]
    hydra: list[str]
    flags: list[str]
    subdir: str
    command: list[str]
    sweeper: str
    started_in: str
    started: str
    resumed: list[str]
    versions: dict[str, str]
    search: dict[str, Any]
    seal: str


_FIELDS = frozenset(Plan.__dataclass_fields__) - {"jobs", "why"}


def _whole(told: Mapping[str, Any]) -> bytes:
    """A plan in one form: what its seal is of."""
    return json.dumps(told, sort_keys=True).encode()


def _standing(told: Any, found: Mapping[str, Any]) -> str:
    if told is None:
        return "it bears no seal of yours"
    try:
        return "" if trust.is_sealed(told, _whole(found), []) else "its seal is not yours, or it was changed since"
    except trust.NoKeyError as error:
        return f"{error}, by which it could be known as yours"


def options(choices: Mapping[Any, Any]) -> dict[str, str]:
    """The option of each group, of what Hydra knows as choices: its own groups left out."""
    return {str(g): o for g, o in choices.items() if isinstance(o, str) and "hydra/" not in str(g)}


def planned(jobs: Sequence[Sequence[str]], choices: Mapping[str, str], first: int = 0) -> tuple[PlannedJob, ...]:
    """Jobs of overrides, numbered; each chooses as the sweep does, but for the groups that it names itself."""

    def chosen(overrides: Sequence[str]) -> dict[str, str]:
        own = {key(o): o.partition("=")[2] for o in overrides if key(o) in choices}
        return {**choices, **own}

    return tuple(PlannedJob(n, tuple(o), chosen(o)) for n, o in enumerate(jobs, first))


def _product(overrides: Sequence[str], loader: Any) -> list[list[str]]:
    """The jobs that Hydra's own sweeper makes of a command line: every combination."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]


def _of_note(path: Path) -> Plan | None:
    """The plan that Hydra's `multirun.yaml` describes; None where there is none, or it is torn or a stranger's."""
    from hydra.errors import HydraException

    if not path.is_file():
        return None
    try:
        found = Plan._of_hydra(parse(content(path, LARGEST), path)["hydra"])
        return replace(found, why="a note of Hydra's bears no seal")
    except (OSError, RunError, ValueError, KeyError, TypeError, AttributeError, HydraException):
        return None
