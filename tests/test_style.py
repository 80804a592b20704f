"""The shape of the package: imports run one way, modules stay small, importing changes nothing."""

import ast
import graphlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppl_vae

PACKAGE = Path(__file__).resolve().parents[1] / "ppl_vae"

# Every room, in an order in which each imports only from those before it.
FLOW = """
    imports version errors frames display kinds doors reading files rng schedules citations datasets distributions nn
    likelihoods estimators core objectives linter models guides codes config inference_data mcmc compile runs
    diagnostics plots training sklearn sweeps reports cli __main__
"""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "conf" not in path.parts)


def room(name: str) -> str:
    """ppl_vae.training.fit -> training."""
    return name.split(".")[1] if "." in name else ""


def imports(path: Path) -> set[str]:
    """Names of project modules that `path` imports when it runs, at the top or inside a function."""
    package = ["ppl_vae", *path.relative_to(PACKAGE).parent.parts]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return  # annotations flow both ways
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found.update({f"{source}.{alias.name}" for alias in node.names} if source == "ppl_vae" else {source})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return {name for name in found if name.split(".")[0] == "ppl_vae"}


def room_imports() -> dict[str, dict[str, Path]]:
    """For each room the rooms it imports from, each with a module that does."""
    found: dict[str, dict[str, Path]] = {}
    for path in modules():
        here = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if here != "__init__":  # the list of public names reaches everywhere
            there = {room(name) for name in imports(path)} - {here, ""}
            found.setdefault(here, {}).update(dict.fromkeys(there, path))
    return found


def test_imports_run_one_way() -> None:
    order = FLOW.split()
    found = room_imports()
    assert set(order) == set(found)
    for here, others in found.items():
        for there, path in others.items():
            message = f"{path.relative_to(PACKAGE)} imports from {there}, which comes after {here}"
            assert order.index(there) < order.index(here), message


def test_the_page_lists_the_rooms_in_their_order() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rooms == [room for room in FLOW.split() if room != "__main__"]


def test_rooms_import_each_other_in_no_circle() -> None:
    list(graphlib.TopologicalSorter(room_imports()).static_order())  # raises CycleError, naming the circle


def test_modules_are_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    long = {str(path.relative_to(PACKAGE)): n for path, n in lengths.items() if n > 500}
    assert not long, f"split these: {long}"


def in_fresh_python(program: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=directory,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_light(tmp_path: Path) -> None:
    """`import ppl_vae` loads none of the packages that take seconds; the first use of a name does."""
    program = "import sys, ppl_vae, json; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(in_fresh_python(program, tmp_path)))
    heavy = {"torch", "pyro", "arviz", "sklearn", "scipy", "pandas", "matplotlib", "xarray", "hydra", "numpy"}
    assert not loaded & heavy


SNAPSHOT = """
import importlib, json, locale, logging, os, pkgutil, random, signal, sys, warnings
import numpy, torch, pyro, sklearn  # which change what they change

def state():
    return dict(
        dtype=str(torch.get_default_dtype()), device=str(torch.get_default_device()),
        grad=torch.is_grad_enabled(), threads=torch.get_num_threads(),
        precision=torch.get_float32_matmul_precision(), printing=repr(torch._tensor_str.PRINT_OPTS),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        validate=torch.distributions.Distribution._validate_args, pyro=repr(pyro.settings.get()),
        params=sorted(pyro.get_param_store().keys()), handlers=repr(logging.getLogger().handlers),
        level=logging.getLogger().level, environment=dict(os.environ), path=sys.path[:],
        signals=[repr(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
        rng=[hash(torch.get_rng_state().numpy().tobytes()), hash(random.getstate()),
             hash(numpy.random.get_state()[1].tobytes())],
        numpy=repr(numpy.get_printoptions()), locale=locale.setlocale(locale.LC_ALL),
        errors=repr(numpy.geterr()), excepthook=repr(sys.excepthook), files=sorted(os.listdir(".")),
    )

before = state()
import ppl_vae
for module in pkgutil.walk_packages(ppl_vae.__path__, "ppl_vae."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = state()
print(json.dumps({k: [before[k], after[k]] for k in before if before[k] != after[k]}))
"""


def test_import_changes_no_global_state(tmp_path: Path) -> None:
    """Importing every module of the package leaves torch, Pyro, NumPy and the process as they were."""
    changed = json.loads(in_fresh_python(SNAPSHOT, tmp_path))
    assert not changed


def test_public_names_are_there_and_explained() -> None:
    """Everything in `__all__` can be had, and says in its docstring what it is."""
    for name in ppl_vae.__all__:
        thing = getattr(ppl_vae, name)
        assert getattr(thing, "__doc__", None), f"ppl_vae.{name} has no docstring"
    assert set(ppl_vae.__all__) <= set(dir(ppl_vae))


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """Importing a module binds its name in the package: it would hide `pv.terms`, the function."""
    modules_of_the_package = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    hidden = [n for n in ppl_vae.__all__ if n in modules_of_the_package and not inspect.ismodule(getattr(ppl_vae, n))]
    assert not hidden


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="pythonic"):
        ppl_vae.pythonic  # noqa: B018


def test_docstrings_begin_with_what_a_thing_is_or_does() -> None:
    """Not with a question about it: `Whether …` and `What …` read as translated."""
    questions = re.compile(r"(What|Whether|How|Which|Why)\b")
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                said = ast.get_docstring(node)
                if said and questions.match(said):
                    found.append(f"{path.relative_to(PACKAGE)}: {said.splitlines()[0]}")
    assert not found
