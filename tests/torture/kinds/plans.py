"""Sweeps: plans that are more than plans."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from tests.torture.kinds.case import ESCAPE, FORMULA, MARKUP, SCRIPT, Case, Kind, Make


def sweeps() -> Iterator[Kind]:
    """Sweeps: plans that are more than plans."""

    def plan(change: Callable[[Case], dict[str, Any]], *, missing: bool = True) -> Make:
        def made(case: Case) -> None:
            case.plan(**change(case))
            if missing:  # so that there is something to do
                (case.sweep / "1" / "run.json").unlink()

        return made

    def jobs(*words: Any) -> Callable[[Case], dict[str, Any]]:
        def made(case: Case) -> dict[str, Any]:
            found = json.loads((case.sweep / "sweep.json").read_text())["jobs"]
            more = [word(case) if callable(word) else word for word in words]
            return {"jobs": [job | {"overrides": [*job["overrides"], *more]} for job in found]}

        return made

    run = "+model.activation._target_=torch.utils.collect_env.run"
    plans: dict[str, Callable[[Case], dict[str, Any]]] = {
        "a target in a job": jobs("~model.activation", run, lambda case: f"'+model.activation.command={case.shell}'"),
        "a dataset of a stranger": jobs(
            "dataset._target_=torch.utils.collect_env.run", lambda case: f"'+dataset.command={case.shell}'"
        ),
        "a folder outside": jobs(lambda case: f"hydra.run.dir={case.outside}/x"),
        "a folder outside, of a sweep": lambda case: {"hydra": [f"hydra.sweep.dir={case.outside}/x"]},
        "a subfolder outside": lambda case: {
            "subdir": "../../outside/x",
            "hydra": ["hydra.sweep.subdir=../../outside/x"],
        },
        "a subfolder resolved": lambda case: {
            "subdir": "${oc.env:TORTURE_SECRET}",
            "hydra": ["hydra.sweep.subdir=${oc.env:TORTURE_SECRET}"],
        },
        "a launcher": lambda case: {
            "hydra": ["hydra.launcher._target_=torch.utils.collect_env.run", f"'+hydra.launcher.command={case.shell}'"]
        },
        "a sweeper": lambda case: {
            "hydra": ["hydra.sweeper._target_=torch.utils.collect_env.run", f"'+hydra.sweeper.command={case.shell}'"]
        },
        "a callback": lambda case: {
            "hydra": [f"+hydra.callbacks.x={{_target_: torch.utils.collect_env.run, command: '{case.shell}'}}"]
        },
        "logging": lambda case: {
            "hydra": [
                f"+hydra.job_logging.handlers.x={{'()': 'os.system', command: '{case.shell}'}}",
                "+hydra.job_logging.root.handlers=[x]",
            ]
        },
        "an environment": lambda case: {
            "hydra": ["+hydra.job.env_set.PYTHONSTARTUP=evil", "+hydra.job.env_copy=[TORTURE_SECRET]"]
        },
        "a searchpath": lambda case: {"hydra": [f"hydra.searchpath=[file://{case.sweep}/conf,pkg://evil_package]"]},
        "--config-dir": lambda case: {"flags": [f"--config-dir={case.sweep}/conf"]},
        "--config-path": lambda case: {"flags": ["--config-path=../../../outside", "--config-name=x"]},
        "--experimental-rerun": lambda case: {"flags": [f"--experimental-rerun={case.sweep}/x.pickle"]},
        "started elsewhere": lambda case: {"started_in": str(case.sweep / "code")},
        "started outside": lambda case: {"started_in": str(case.outside)},
        "a tracker": jobs("logger=mlflow", "logger.tracking_uri=http://127.0.0.1:9"),
        "a secret as a name": jobs("name=${oc.env:TORTURE_SECRET}"),
        "a secret as a value": jobs("optimizer.lr=${oc.env:TORTURE_SECRET}"),
        "chdir": lambda case: {"hydra": ["hydra.job.chdir=true", f"hydra.output_subdir={case.outside}/h"]},
        "numbers that are texts": lambda case: {"jobs": [{"number": "../../outside", "overrides": [], "choices": {}}]},
        "negative numbers": lambda case: {"jobs": [{"number": -1, "overrides": ["seed=1"], "choices": {}}]},
        "a number of 30 digits": lambda case: {"jobs": [{"number": 10**30, "overrides": ["seed=1"], "choices": {}}]},
        "300,000 jobs": lambda case: {
            "jobs": [{"number": n, "overrides": ["seed=1"], "choices": {}} for n in range(300_000)]
        },
        "overrides as texts": lambda case: {"jobs": [{"number": 0, "overrides": "seed=1", "choices": {}}]},
        "overrides of numbers": lambda case: {"jobs": [{"number": 0, "overrides": [1, None, {}], "choices": [1]}]},
        "search as a list": lambda case: {"search": [1, 2], "complete": False},
        "a search elsewhere": lambda case: {
            "search": {"storage": f"sqlite:///{case.mark}", "n_trials": 3},
            "complete": False,
            "sweeper": "ppl_vae.sweeps.study.Study",
        },
        "another verb": lambda case: {"verb": "compare"},
        "verb as a list": lambda case: {"verb": ["train"], "command": "x", "started": 3, "versions": [1]},
    }
    for name, change in plans.items():

        def made(case: Case, change: Callable[[Case], dict[str, Any]] = change, name: str = name) -> None:
            case.module("__init__", case.sweep / "conf")
            (case.sweep / "conf" / "train.yaml").write_text("model:\n  _target_: evil_models.Model\n")
            for place in (case.sweep / "code", case.outside, case.sweep):
                case.module("zuko", place)
                case.module("evil_models", place)
            (case.sweep / "x.pickle").write_bytes(case.pickle)
            plan(change)(case)

        yield Kind(f"plan: {name}", f"a plan with {name}", made, of="sweep")
    texts = {"markup": MARKUP, "a script": SCRIPT, "a formula": FORMULA, "escapes": ESCAPE}
    for what, text in texts.items():

        def shown(case: Case, text: str = text) -> None:
            quoted = json.dumps(text)
            for number in (0, 1):
                mine = f"{text} {number}"
                case.json(
                    "run.json",
                    lambda r, m=mine: r.update(overrides=[*r["overrides"], f"+x.y={m}"], error=m, command=["train", m]),
                    case.sweep / str(number),
                )
                case.config(lambda c, m=mine: c.update({"x": {"y": m, text: m}, "name": m}), case.sweep / str(number))
                case.json(
                    "evaluation/test/summary.json", lambda s: s.update({text: 1.0}), case.sweep / str(number)
                ) if (case.sweep / str(number) / "evaluation/test/summary.json").exists() else None
            found = json.loads((case.sweep / "sweep.json").read_text())
            new = [
                job | {"overrides": [*job["overrides"], f"+x.y={text} {job['number']}", f"+{text}={job['number']}"]}
                for job in found["jobs"]
            ]
            case.plan(
                jobs=new,
                overrides=[*found["overrides"], f"+x.y={quoted}"],
                command=["ppl-vae", "train", text],
                started_in=text,
            )

        yield Kind(
            f"sweep page: {what}",
            f"{what} in keys and values that differ",
            shown,
            of="sweep",
            doors=("compare", "sweeps", "load"),
        )

        def failed(case: Case, text: str = text) -> None:
            case.json("run.json", lambda r: r.update(status="failed", error=text, result=None), case.sweep / "1")
            (case.sweep / "1" / "error.txt").write_text(text)

        yield Kind(
            f"sweep page: {what} as an error",
            f"{what} as what a job failed with",
            failed,
            of="sweep",
            doors=("compare", "sweeps"),
        )

        def renamed(case: Case, text: str = text) -> None:
            (case.sweep / "1").rename(case.sweep / text.replace("/", "_"))

        yield Kind(
            f"sweep page: {what} as a folder",
            f"{what} as the name of a job's folder",
            renamed,
            of="sweep",
            doors=("compare", "sweeps"),
        )
    for name in ("comparison.csv", "comparison.html", "comparison.json", "comparison.parquet", ".comparison.csv.tmp",
                 ".comparison.html.tmp", ".comparison.json.tmp", ".sweep.json.tmp", "multirun.yaml", "study.journal"):  # fmt: skip

        def linked(case: Case, name: str = name) -> None:
            (case.sweep / name).unlink(missing_ok=True)
            target = case.outside / "target.txt"
            (case.sweep / name).symlink_to(target)
            (case.sweep / "1" / "run.json").unlink()

        yield Kind(f"sweep link: {name}", f"{name} leads to a file outside", linked, of="sweep")
    for name in ("sweep.json", "multirun.yaml", "study.journal", "1/run.json", "1/config.yaml", "comparison.csv"):

        def piped(case: Case, name: str = name) -> None:
            (case.sweep / name).unlink(missing_ok=True)
            os.mkfifo(case.sweep / name)
            if name == "multirun.yaml":
                (case.sweep / "sweep.json").unlink()

        yield Kind(f"sweep pipe: {name}", f"{name} is a pipe", piped, of="sweep")

    def job_outside(case: Case) -> None:
        (case.sweep / "1").rename(case.outside / "job")
        (case.sweep / "1").symlink_to(case.outside / "job")
        case.json("run.json", lambda r: r.update(status="interrupted"), case.outside / "job")

    yield Kind(
        "sweep link: a job", "a job's folder leads to one outside, to be gone on with there", job_outside, of="sweep"
    )

    def note(case: Case) -> None:
        (case.sweep / "sweep.json").unlink()
        (case.sweep / "multirun.yaml").write_text(
            f"hydra:\n  sweeper:\n    _target_: !!python/object/apply:os.system ['{case.shell}']\n  overrides:\n    task: ['${{oc.env:TORTURE_SECRET}}']\n"
            "  sweep: {subdir: x}\n  job: {name: train}\n  runtime: {cwd: /, choices: {}}\n"
        )

    yield Kind("sweep: multirun.yaml", "Hydra's note with tags and resolvers", note, of="sweep")

    def journal(case: Case) -> None:
        (case.sweep / "study.journal").write_bytes(case.pickle)
        case.plan(
            search={"n_trials": 2, "sampler": {"_target_": "torch.utils.collect_env.run", "command": case.shell}},
            complete=False,
        )

    yield Kind("sweep: a study", "a search whose sampler is a command, its journal a pickle", journal, of="sweep")

    def loop(case: Case) -> None:
        (case.sweep / "a").symlink_to(case.sweep)
        (case.sweep / "b").symlink_to("/")

    yield Kind("sweep: folders in a circle", "folders that lead up, and to the root", loop, of="sweep")
