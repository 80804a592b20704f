"""What stands around a run: repositories and trackers."""

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.torture.kinds.case import Case, Kind, Make, put


def repositories() -> Iterator[Kind]:
    """A `.git` beside the run that makes git run commands."""

    def git(case: Case, folder: Path, lines: str, *, bare: bool = False) -> None:
        place = folder if bare else folder / ".git"
        for inner in ("objects", "refs/heads", "hooks", "info"):
            (place / inner).mkdir(parents=True, exist_ok=True)
        (place / "HEAD").write_text("ref: refs/heads/main\n")
        (place / "refs" / "heads" / "main").write_text("0" * 39 + "1\n")
        begin = "[core]\n\trepositoryformatversion = 0\n" + (f"\tworktree = {folder}\n" if bare else "")
        (place / "config").write_text(begin + textwrap.dedent(lines))
        for hook in ("post-index-change", "pre-commit", "fsmonitor-watchman", "reference-transaction", "post-checkout"):
            (place / "hooks" / hook).write_text(f"#!/bin/sh\n{case.shell}\n")
            (place / "hooks" / hook).chmod(0o755)

    def made(lines: Callable[[Case], str], *, bare: bool = False, attributes: bool = False) -> Make:
        def make(case: Case) -> None:
            for folder in (case.run, case.sent):
                git(case, folder, lines(case), bare=bare)
                if attributes:
                    (folder / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
            case.record(status="interrupted")

        return make

    lines: dict[str, Callable[[Case], str]] = {
        "core.fsmonitor": lambda case: f"[core]\n\tfsmonitor = {case.shell}\n",
        "core.hooksPath": lambda case: f"[core]\n\thooksPath = {case.run}/.git/hooks\n",
        "filters": lambda case: (
            f'[filter "evil"]\n\tclean = {case.shell}\n\tsmudge = {case.shell}\n\tprocess = {case.shell}\n\trequired = true\n'
        ),
        "core.pager": lambda case: (
            f"[core]\n\tpager = {case.shell}\n[pager]\n\tstatus = {case.shell}\n\trev-parse = {case.shell}\n"
        ),
        "alias": lambda case: f'[alias]\n\tstatus = "!{case.shell}"\n\trev-parse = "!{case.shell}"\n',
        "core.sshCommand": lambda case: (
            f"[core]\n\tsshCommand = {case.shell}\n\taskPass = {case.shell}\n\teditor = {case.shell}\n"
        ),
        "include": lambda case: f"[include]\n\tpath = {case.run}/more\n[core]\n\tfsmonitor = {case.shell}\n",
        "log.showSignature": lambda case: f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {case.shell}\n",
        "diff": lambda case: (
            f'[diff]\n\texternal = {case.shell}\n[diff "evil"]\n\ttextconv = {case.shell}\n\tcommand = {case.shell}\n'
        ),
        "partial clone": lambda case: (
            f'[extensions]\n\tpartialClone = x\n[remote "x"]\n\turl = "ext::{case.shell}"\n\tpromisor = true\n'
        ),
    }
    for name, text in lines.items():
        for cwd in ("inside", "sent"):
            yield Kind(f"git: {name}, typed {cwd}", f"a repository whose {name} is a shell's command",
                       made(text, attributes=name in ("filters", "diff")), cwd=cwd, doors=("resume", "load", "gradients"))  # fmt: skip
    yield Kind("git: bare", "the run itself as a bare repository", made(lines["core.fsmonitor"], bare=True), cwd="inside",
               doors=("resume", "gradients"))  # fmt: skip

    def real(case: Case) -> None:
        """A repository with an index, whose files have changed since: git asks its filters and its monitor."""
        import subprocess

        for folder in (case.sent,):
            quiet = {"cwd": folder, "check": True, "capture_output": True}
            subprocess.run(["git", "init", "-q", "-b", "main"], **quiet)  # type: ignore[call-overload]
            (folder / "a.txt").write_text("a")
            subprocess.run(["git", "add", "a.txt"], **quiet)  # type: ignore[call-overload]
            who = ["-c", "user.name=x", "-c", "user.email=x"]
            subprocess.run(["git", *who, "commit", "-qm", "x"], **quiet)  # type: ignore[call-overload]
            (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
            with (folder / ".git" / "config").open("a") as file:
                file.write(lines["filters"](case) + lines["core.fsmonitor"](case) + lines["core.hooksPath"](case))
            (folder / ".git" / "hooks").mkdir(exist_ok=True)
            hook = folder / ".git" / "hooks" / "post-index-change"
            hook.write_text(f"#!/bin/sh\n{case.shell}\n")
            hook.chmod(0o755)
            (folder / "a.txt").write_text("b")
        case.record(status="interrupted")

    for cwd in ("inside", "sent"):
        yield Kind(f"git: a real one, typed {cwd}", "a repository with changed files, a filter and a monitor", real,
                   cwd=cwd, doors=("resume", "gradients"))  # fmt: skip

    def pointed(case: Case) -> None:
        git(case, case.outside / "repository", lines["core.fsmonitor"](case))
        for folder in (case.run, case.sent):
            (folder / ".git").write_text(f"gitdir: {case.outside}/repository/.git\n")

    yield Kind(
        "git: a file that points elsewhere", "`.git` as a file", pointed, cwd="inside", doors=("resume", "gradients")
    )


def trackers() -> Iterator[Kind]:
    """Trackers of a saved config, which going on would tell: over the network, or elsewhere on the disk."""

    def logger(node: Callable[[Case], dict[str, Any]]) -> Make:
        def made(case: Case) -> None:
            case.config(lambda c: put(c, "logger", node(case)))
            case.record(status="interrupted")

        return made

    loggers = "ppl_vae.runs.loggers"
    nodes: dict[str, Callable[[Case], dict[str, Any]]] = {
        "MLflow over the network": lambda case: {"_target_": f"{loggers}.MLflow", "tracking_uri": "http://127.0.0.1:9"},
        "MLflow in a file outside": lambda case: {
            "_target_": f"{loggers}.MLflow",
            "tracking_uri": f"file://{case.mark}",
        },
        "MLflow in a database outside": lambda case: {
            "_target_": f"{loggers}.MLflow",
            "tracking_uri": f"sqlite:///{case.mark}",
        },
        "MLflow's plugin": lambda case: {"_target_": f"{loggers}.MLflow", "tracking_uri": "evil://x"},
        "WandB": lambda case: {"_target_": f"{loggers}.WandB", "project": "x", "mode": "online"},
        "Trackio": lambda case: {"_target_": f"{loggers}.Trackio", "project": "../../outside"},
        "TensorBoard elsewhere": lambda case: {"_target_": f"{loggers}.TensorBoard", "directory": str(case.mark)},
        "CSV elsewhere": lambda case: {"_target_": f"{loggers}.CSV", "directory": str(case.outside)},
        "several": lambda case: {
            "_target_": f"{loggers}.Several",
            "trackers": ["mlflow"],
            "options": {"mlflow": {"tracking_uri": "http://127.0.0.1:9"}},
        },
        "requests": lambda case: {"_target_": "requests.get", "url": "http://127.0.0.1:9"},
        "urllib": lambda case: {"_target_": "urllib.request.urlopen", "url": "http://127.0.0.1:9"},
    }
    for name, node in nodes.items():
        yield Kind(
            f"tracker: {name}", f"{name}, when the run goes on", logger(node), doors=("resume", "evaluate", "load")
        )

    def noted(case: Case) -> None:
        (case.run / "trackers.json").write_text(json.dumps(
            {name: {"run": f"../../../outside/{name}", "uri": "http://127.0.0.1:9"} for name in ("tensorboard", "mlflow", "wandb", "trackio", "csv")}))  # fmt: skip
        logger(lambda c: {"_target_": f"{loggers}.TensorBoard"})(case)

    yield Kind("tracker: trackers.json", "names that lead outside", noted, doors=("resume", "load"))
