"""Links, pipes and devices in place of files; references to what is nobody's business."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.torture.kinds.case import NUMBER, SECRET, Case, Kind, Make, edited, put


def links() -> Iterator[Kind]:
    """Links to what lies outside."""
    files = ("report.html", ".report.html.tmp", "posterior.nc", ".posterior.nc.tmp", "posterior.csv", ".posterior.csv.tmp",
             "metrics.jsonl", ".metrics.jsonl.tmp", "run.json", ".run.json.tmp", "config.yaml", ".config.yaml.tmp",
             "model.safetensors", ".model.safetensors.tmp", "checkpoints/last.safetensors",
             "checkpoints/.last.safetensors.tmp", "samples.npz", ".samples.npz.tmp", ".lock", "error.txt",
             "evaluation/test/summary.json", "evaluation/test/table.csv", "evaluation/test/.summary.json.tmp",
             "figures/kl_per_unit.png", "figures/.kl_per_unit.png.tmp", "export/encoder.pt2", "metrics.csv", "result.csv",
             ".metrics.csv.tmp", "recipe.json", "manifest.json", ".manifest.json.tmp", "checkpoints/previous.safetensors",
             "calibration/summary.json", "gradients.csv", "refined.nc", "trackers.json", ".trackers.json.tmp")  # fmt: skip
    for name in files:

        def linked(case: Case, name: str = name) -> None:
            path = case.run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            target = case.outside / f"copy of {path.name}"
            if path.exists():
                target.write_bytes(path.read_bytes())
                path.unlink()
            else:
                target.write_text("mine\n")
            path.symlink_to(target)

        yield Kind(f"link: {name}", f"{name} leads to a file outside, to be written through", linked)

        def dangling(case: Case, name: str = name) -> None:
            path = case.run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(case.mark)

        if name.startswith((".", "report", "samples", "metrics.csv", "error")) or "/." in name:
            yield Kind(f"dangling link: {name}", f"{name} leads to a file outside, to be made", dangling)
    for name in ("figures", "evaluation", "evaluation/test", "checkpoints", "export", "calibration", "tensorboard",
                 ".export.tmp", "mlruns"):  # fmt: skip

        def folder(case: Case, name: str = name) -> None:
            path, target = case.run / name, case.outside / "folder"
            if path.is_dir():
                path.rename(target)
            else:
                target.mkdir()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)

        yield Kind(f"linked folder: {name}", f"{name}/ leads to a folder outside, to be written into", folder)

    def figure(case: Case) -> None:
        (case.run / "figures").mkdir(exist_ok=True)
        for name in ("gaps", "calibration", "kl_per_unit", "checks", "information", "gradients", "posterior_pareto_k"):
            path = case.run / "figures" / f"{name}.png"
            path.unlink(missing_ok=True)
            path.symlink_to(case.outside / "secret.txt")

    yield Kind("secret: figures", "figures that are links to a secret, to be put into the page", figure)

    def error(case: Case) -> None:
        (case.run / "error.txt").symlink_to(case.outside / "secret.txt")
        case.record(status="failed", error="x")

    yield Kind("secret: error.txt", "error.txt is a link to a secret, to be put into the page", error)

    def summary(case: Case) -> None:
        (case.outside / "secret.json").write_text(json.dumps({"elbo": NUMBER, "note": SECRET}))
        for name in ("evaluation/test/summary.json", "evaluation/test/probe.json", "calibration/summary.json"):
            path = case.run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(case.outside / "secret.json")

    yield Kind("secret: summary.json", "results that are links to a secret", summary)

    def tables(case: Case) -> None:
        (case.outside / "secret.csv").write_text(f",mean\n{SECRET},1\n")
        for name in ("posterior.csv", "evaluation/test/table.csv"):
            (case.run / name).unlink()
            (case.run / name).symlink_to(case.outside / "secret.csv")

    yield Kind("secret: tables", "tables that are links to a secret", tables)

    def config(case: Case) -> None:
        config = yaml.safe_load((case.run / "config.yaml").read_text())
        (case.outside / "secret.yaml").write_text(yaml.safe_dump({**config, "name": SECRET}))
        (case.run / "config.yaml").unlink()
        (case.run / "config.yaml").symlink_to(case.outside / "secret.yaml")

    yield Kind("secret: config.yaml", "the config is a link to a secret, to be put into the page", config)

    def loop(case: Case) -> None:
        for name in ("figures", "evaluation", "calibration"):
            path = case.run / name
            if path.is_dir():
                path.rename(case.run / f"old {name}")
            path.symlink_to(path)
        (case.run / "up").symlink_to(case.run.parent)

    yield Kind("links in a circle", "folders that lead to themselves", loop)

    def everything(case: Case) -> None:
        case.run.rename(case.outside / "whole")
        case.run.symlink_to(case.outside / "whole")

    yield Kind("link: the run itself", "the folder of the run is a link to one outside", everything, benign=True)


FILES = ("run.json", "config.yaml", "metrics.jsonl", "model.safetensors", "checkpoints/last.safetensors", "posterior.nc",
         "recipe.json", "reference.safetensors", "evaluation/test/summary.json", "evaluation/test/table.csv",
         "posterior.csv", "figures/gaps.png", "error.txt", ".lock", "trackers.json", "manifest.json",
         "checkpoints/previous.safetensors")  # fmt: skip


def devices() -> Iterator[Kind]:
    """Files that are none."""

    def replaced(name: str, make: Callable[[Path], Any]) -> Make:
        def made(case: Case) -> None:
            path = case.run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            make(path)

        return made

    for name in FILES:
        yield Kind(f"pipe: {name}", f"{name} is a pipe, which nobody writes into", replaced(name, os.mkfifo))
    for name in FILES[:8]:
        zero = replaced(name, lambda path: path.symlink_to("/dev/zero"))
        yield Kind(f"device: {name}", f"{name} leads to /dev/zero, which has no end", zero)
        yield Kind(f"folder: {name}", f"{name} is a folder", replaced(name, Path.mkdir))
        loop = replaced(name, lambda path: path.symlink_to(path.name))
        yield Kind(f"circle: {name}", f"{name} is a link to itself", loop)

    def socket(case: Case) -> None:
        import socket

        (case.run / "run.json").unlink()
        here = os.getcwd()
        os.chdir(case.run)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind("run.json")
        finally:
            os.chdir(here)

    yield Kind("socket: run.json", "run.json is a socket", socket)
    for loader, name in (("npy", "x.npy"), ("npz", "x.npz"), ("csv", "x.csv")):

        def piped(case: Case, loader: str = loader, name: str = name) -> None:
            os.mkfifo(case.run / name)
            case.config(
                lambda c: put(c, "dataset", {"_target_": f"ppl_vae.datasets.{loader}", "path": str(case.run / name)})
            )

        yield Kind(f"pipe: data {name}", f"the data are a pipe read by {loader}", piped)

    def endless(case: Case) -> None:
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.csv", "path": "/dev/zero"}))

    yield Kind("device: data", "the data are /dev/zero", endless)


def secrets() -> Iterator[Kind]:
    """What is nobody's business, to be put into pages and tables."""
    resolvers = {
        "oc.env": "${oc.env:TORTURE_SECRET}",
        "oc.env with a default": "${oc.env:NO_SUCH,${oc.env:TORTURE_SECRET}}",
        "oc.decode": "${oc.decode:${oc.env:TORTURE_SECRET_LIST}}",
        "in a text": "a ${oc.env:TORTURE_SECRET} b",
        "oc.create": "${oc.create:{a: '${oc.env:TORTURE_SECRET}'}}",
        "oc.select": "${oc.select:nothing,${oc.env:TORTURE_SECRET}}",
        "through another key": "${provenance.other}",
        "oc.deprecated": "${oc.deprecated:provenance.other}",
        "oc.dict.values": "${oc.dict.values:provenance.others}",
        "hydra": "${hydra:runtime.cwd}${oc.env:TORTURE_SECRET}",
        "HOME": "${oc.env:HOME}",
    }
    for name, text in resolvers.items():
        for place in ("name", "provenance.source"):

            def made(case: Case, text: str = text, place: str = place) -> None:
                def change(config: dict[str, Any]) -> None:
                    config["provenance"]["other"] = "${oc.env:TORTURE_SECRET}"
                    config["provenance"]["others"] = {"a": "${oc.env:TORTURE_SECRET}"}
                    put(config, place, text)

                case.config(change)

            yield Kind(f"resolver: {name} as {place}", f"{text} in the config, to be resolved into the page", made)
    for place in (
        "spec.fields.0.name",
        "dataset._target_",
        "model.activation",
        "engine.device",
        "optimizer.lr",
        "seed",
    ):
        yield Kind(
            f"resolver at {place}",
            "the secret in an error message or a table",
            edited(place, "${oc.env:TORTURE_SECRET}"),
        )
    yield Kind("resolver: a key", "a key that is resolved", lambda case: case.config(
        lambda c: c["provenance"].update({"${oc.env:TORTURE_SECRET}": 1})))  # fmt: skip
    yield Kind(
        "resolver: uid and scratch",
        "resolvers of this package, of which one makes a folder",
        edited("name", "${scratch:}"),
    )
    yield Kind("resolver: the data's path", "a path that is resolved", lambda case: case.config(
        lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npy", "path": "/nowhere/${oc.env:TORTURE_SECRET}"})))  # fmt: skip
    yield Kind("resolver: run.json", "an interpolation in the record", lambda case: case.record(
        status="failed", error="${oc.env:TORTURE_SECRET}", started="${oc.env:TORTURE_SECRET}"))  # fmt: skip

    def environment(case: Case) -> None:
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.csv", "path": "/proc/self/environ"}))

    yield Kind("secret: /proc/self/environ", "the environment as data, to be told in an error", environment)

    def text(case: Case) -> None:
        case.config(
            lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.csv", "path": str(case.outside / "secret.txt")})
        )

    yield Kind("secret: a text as data", "a secret file as data, to be told in an error", text)
    for key in ("user_modules", "command", "overrides"):

        def traversal(case: Case, key: str = key) -> None:
            case.record(**{key: ["../../outside", "/etc", str(case.outside)]})

        yield Kind(f"traversal: {key}", f"paths outside in {key} of run.json", traversal)
