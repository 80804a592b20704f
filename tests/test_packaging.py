"""What is installed is what was tested: pinned versions, a wheel that works alone, verbs that say so."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ppl_vae import frames


def constraints(repository: Path) -> dict[str, Requirement]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]
    here = [requirement for requirement in found if requirement.marker is None or requirement.marker.evaluate()]
    return {canonicalize_name(requirement.name): requirement for requirement in here}


def project(repository: Path) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """Name and version of every installed distribution that `requirements` lead to."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add((name, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        versions[name] = distribution.version
        for text in distribution.requires or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": e}) for e in {"", *extras}):
                child.marker = None
                waiting.append(child)
    return versions


def test_every_pinned_package_has_its_licence_told(repository: Path) -> None:
    """`make licences` writes the page; packages that are pinned no more are not on it."""
    text = (repository / "docs" / "licences.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| (\S+) \| (.+) \|$", text, re.MULTILINE))
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    assert told.keys() - {"package", "---"} == pinned
    assert not [name for name, words in told.items() if len(words) > 120 or words in ("", "None", "UNKNOWN")]


def test_checksums_are_those_of_pins(repository: Path) -> None:
    """`make hashes` writes the file; a line of another version than is pinned would be installed by nobody."""
    text = (repository / "constraints-hashes.txt").read_text(encoding="utf-8")
    pins = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = re.findall(r"^([^\s#].*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert [line for line, _ in found] == [line for line in pins if line in dict(found)]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert len(found) == len([line for line in body.splitlines() if line and not line.startswith(" ")]) > 0


def test_what_we_are_made_with_is_known_in_tracebacks(repository: Path) -> None:
    """`frames` has a module of each package that is required (omegaconf by Hydra, parts of ArviZ 1), and no other."""
    required = {canonicalize_name(Requirement(text).name) for text in project(repository)["dependencies"]}
    parts = {"omegaconf", "arviz-base", "arviz-plots", "arviz-stats"}
    modules = metadata.packages_distributions()
    owners = {canonicalize_name(p) for m in frames.DEPENDENCIES | frames.LIBRARIES for p in modules.get(m, ())}
    assert owners - parts == required


def test_constraints_are_exact(repository: Path) -> None:
    for name, requirement in constraints(repository).items():
        operators = [specifier.operator for specifier in requirement.specifier]
        assert operators == ["=="], f"{name}: pin one version"
        assert "*" not in str(requirement.specifier), f"{name}: pin one version"
    assert str(constraints(repository)["torch"].specifier) == "==2.13.0"


def test_constraints_name_every_package_at_its_tested_version(repository: Path) -> None:
    """Direct and transitive ones; a package missing here would float on the next fresh machine."""
    described = project(repository)
    texts = described["dependencies"] + [t for e in described["optional-dependencies"].values() for t in e]
    pinned = constraints(repository)
    part_of_python = {"pip", "wheel"}
    for name, version in closure([Requirement(text) for text in texts]).items():
        if name in part_of_python or name.startswith(("nvidia-", "cuda-")) or name in {"ppl-vae", "triton"}:
            continue
        assert name in pinned, f"add {name}=={version} to constraints.txt"
        assert pinned[name].specifier.contains(version), f"{name} {version} is installed, not {pinned[name]}"


def test_direct_requirements_allow_the_pins(repository: Path) -> None:
    pinned = constraints(repository)
    for text in project(repository)["dependencies"]:
        requirement = Requirement(text)
        pin = pinned.get(canonicalize_name(requirement.name))
        if pin is None or (requirement.marker and not requirement.marker.evaluate()):
            continue
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{text} does not allow {pin}"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("directory", ["plain", "with some spaces"])
def test_make_help_lists_every_verb(repository: Path, tmp_path: Path, directory: str) -> None:
    """And works wherever the checkout lies."""
    checkout = tmp_path / directory
    checkout.mkdir()
    shutil.copy(repository / "Makefile", checkout)
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make"], cwd=checkout, capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    phony = re.search(r"^\.PHONY: (.*)$", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    for verb in phony.group(1).split():
        assert re.search(rf"^  make {verb} ", done.stdout, re.MULTILINE), f"make help does not explain {verb}"


def test_text_files_name_no_machine(repository: Path) -> None:
    """Nobody's own paths, and no package host: where packages come from is the machine's business."""
    texts = ["Makefile", "constraints.txt", "pyproject.toml", "README.md", "CHANGELOG.md", ".ci/run"]
    for name in texts:
        text = (repository / name).read_text(encoding="utf-8")
        assert not re.search(r"/root/|/home/|/work/|index-url|find-links|https?://[^ ]*(pypi|pythonhosted)", text), name


@pytest.mark.slow
def test_the_wheel_works_alone(repository: Path, tmp_path: Path) -> None:
    """Built, installed into a fresh environment, run from elsewhere: configs and entry point are inside."""
    dist, venv, elsewhere = tmp_path / "dist", tmp_path / "venv", tmp_path / "else where"
    elsewhere.mkdir()

    def call(*command: str | Path, directory: Path = tmp_path) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MAKE", "COVERAGE"))}
        words = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, repository)
    (wheel,) = dist.glob("ppl_vae-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    data = {"ppl_vae/py.typed", "ppl_vae/references.bib", "ppl_vae/compile/kernels/product.cpp"}
    assert {*data, "ppl_vae/conf/train.yaml"} <= set(names)
    packaged = {name.removeprefix("ppl_vae/conf/") for name in names if name.startswith("ppl_vae/conf/")}
    present = {str(p.relative_to(repository / "conf")) for p in (repository / "conf").rglob("*.yaml")}
    assert packaged == present
    assert not [
        name for name in names if name.split("/")[0] not in ("ppl_vae", wheel.stem.split("-py")[0] + ".dist-info")
    ]

    call(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    call(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel)
    (libraries,) = venv.glob("lib/python*/site-packages")
    (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # theirs, not the checkout

    where = call(python, "-c", "import ppl_vae; print(ppl_vae.__file__)", directory=elsewhere)
    assert Path(where.strip()).is_relative_to(venv)
    call(venv / "bin" / "ppl-vae", "train", "trainer.epochs=1", directory=elsewhere)
    assert list(elsewhere.glob("outputs/*/*/run.json"))
    assert [path.name for path in elsewhere.iterdir()] == ["outputs"]
