"""Kinds of hostile directories: what each tries, and how it is made of a real run or sweep.

Payloads leave a mark, `ran`, in a folder outside where nothing may be written; whatever the name of what was called,
the mark tells that code ran.
"""

import base64
import json
import os
import pickle
import struct
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SECRET = "hunter2-4b1d7e0c9f"
"""What stands in an environment variable, and in a file outside, that a page has no business to hold."""

NUMBER = 81726.5
"""The same as a number, which figures may hold."""

MARKUP = "<img src=x onerror=alert(4711)>"
SCRIPT = "</script><script>alert(4711)</script>"
FORMULA = "=cmd|' /C calc'!A0"
ESCAPE = "\x1b]0;4711\x07\x1b[2J"


@dataclass
class Case:
    """One hostile directory in a folder of its own.

    Attributes:
        folder: with `run` or `sweep`, `outside`, and `cwd` to begin in.
    """

    folder: Path

    @property
    def run(self) -> Path:
        """The run."""
        return self.folder / "sent" / "run"

    @property
    def sweep(self) -> Path:
        """The sweep."""
        return self.folder / "sent" / "sweep"

    @property
    def sent(self) -> Path:
        """All that was sent."""
        return self.folder / "sent"

    @property
    def outside(self) -> Path:
        """Where nothing may be written, and whose secrets are nobody's business."""
        return self.folder / "outside"

    @property
    def mark(self) -> Path:
        """What code that ran leaves."""
        return self.outside / "ran"

    @property
    def shell(self) -> str:
        """A shell's command that leaves the mark."""
        return f"touch {self.mark}"

    @property
    def python(self) -> str:
        """A line of Python that leaves the mark."""
        return f"open({str(self.mark)!r}, 'w').close()\n"

    def config(self, change: Callable[[dict[str, Any]], Any], place: Path | None = None) -> None:
        """Change `config.yaml`."""
        path = (place or self.run) / "config.yaml"
        config = yaml.safe_load(path.read_text())
        changed = change(config)
        path.write_text(yaml.safe_dump(config if changed is None else changed, sort_keys=False))

    def json(self, name: str, change: Callable[[dict[str, Any]], Any], place: Path | None = None) -> None:
        """Change a file of JSON."""
        path = (place or self.run) / name
        found = json.loads(path.read_text())
        changed = change(found)
        path.write_text(json.dumps(found if changed is None else changed))

    def record(self, **facts: Any) -> None:
        """Change `run.json`."""
        self.json("run.json", lambda record: record.update(facts))

    def plan(self, **facts: Any) -> None:
        """Change `sweep.json`."""
        self.json("sweep.json", lambda plan: plan.update(facts), self.sweep)

    def pickled(self, name: str) -> Path:
        """A pickle in the run that leaves the mark when it is loaded."""
        path = self.run / name
        path.write_bytes(self.pickle)
        return path

    @property
    def pickle(self) -> bytes:
        """A pickle that leaves the mark."""
        return pickle.dumps(_Payload(self.shell), protocol=2)

    def module(self, name: str, folder: Path | None = None) -> Path:
        """A module that leaves the mark when it is imported."""
        path = (folder or self.run) / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.python + "class Model: pass\nclass Guide: pass\ndef f(*a, **k): return 0.0\n")
        return path


class _Payload:
    def __init__(self, shell: str) -> None:
        self.shell = shell

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.shell,)


Make = Callable[[Case], Any]


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        name: of it.
        tries: what it is after, in words.
        make: makes the directory.
        of: `run` or `sweep`.
        cwd: where the commands are typed: `elsewhere`, in the folder `sent`, or in the run (`inside`).
        cold: whether a new interpreter is wanted for it, one that has imported nothing.
        doors: those that it is tried at; all where none are named.
        benign: it tries nothing: it has to open.
    """

    name: str
    tries: str
    make: Make
    of: str = "run"
    cwd: str = "elsewhere"
    cold: bool = False
    doors: tuple[str, ...] = ()
    benign: bool = False
    also: dict[str, str] = field(default_factory=dict)


def put(config: dict[str, Any], place: str, value: Any) -> None:
    """Set a dotted key, with what is needed on the way."""
    *path, last = place.split(".")
    node: Any = config
    for part in path:
        if isinstance(node, list):
            node = node[int(part)]
            continue
        if not isinstance(node.get(part), (dict, list)):
            node[part] = {}
        node = node[part]
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value


# --- what is called

Node = Callable[[Case], dict[str, Any]]


def _called(target: str, /, **keys: Any) -> Node:
    """A node whose values may be functions of the case."""

    def node(case: Case) -> dict[str, Any]:
        def value(given: Any) -> Any:
            if isinstance(given, dict):
                return {k: value(v) for k, v in given.items()}
            if isinstance(given, list):
                return [value(v) for v in given]
            return given(case) if callable(given) else given

        return {"_target_": target, **value(keys)}

    return node


def _shell(case: Case) -> str:
    return case.shell


def _words(case: Case) -> list[str]:
    return ["touch", str(case.mark)]


def _mark(case: Case) -> str:
    return str(case.mark)


def _pickle_file(case: Case) -> str:
    return str(case.pickled("notes.pkl"))


def _torch_file(case: Case) -> str:
    import torch

    path = case.run / "weights.pt"
    torch.save({"x": _Payload(case.shell)}, path)
    return str(path)


def _hub(case: Case) -> str:
    case.module("hubconf", case.run / "hub")
    return str(case.run / "hub")


def _handlers(case: Case) -> dict[str, Any]:
    handler = {"()": "os.system", "command": case.shell}
    return {"version": 1, "handlers": {"x": handler}, "root": {"handlers": ["x"]}}


def _library(case: Case) -> str:
    (case.run / "x.so").write_bytes(b"\x7fELF" + bytes(60))
    return str(case.run / "x.so")


def _unsafe_yaml(case: Case) -> str:
    return f"!!python/object/apply:os.system ['{case.shell}']"


def _doctest(case: Case) -> str:
    path = case.run / "doc.txt"
    path.write_text(f"    >>> open({str(case.mark)!r}, 'w').close()\n")
    return str(path)


def _npz_of_pickles(case: Case) -> str:
    path = case.run / "x.npy"
    array = np.empty(1, dtype=object)
    array[0] = _Payload(case.shell)
    np.save(path, array, allow_pickle=True)
    return str(path)


def _source(case: Case) -> str:
    return case.python


def _outside(name: str) -> Callable[[Case], str]:
    return lambda case: str(case.outside / name)


def _run_outside(case: Case) -> str:
    return f"hydra.run.dir={case.outside}/x"


NODES: dict[str, Node] = {
    "os.system": _called("os.system", command=_shell),
    "posix.system": _called("posix.system", command=_shell),
    "subprocess.call": _called("subprocess.call", args=_words),
    "subprocess.Popen": _called("subprocess.Popen", args=_words),
    "subprocess.getoutput": _called("subprocess.getoutput", cmd=_shell),
    "builtins.exec": _called("builtins.exec", source=_source, _args_=[_source]),
    "torch.os.system": _called("torch.os.system", command=_shell),
    "torch.serialization.os.system": _called("torch.serialization.os.system", command=_shell),
    "torch.utils.collect_env.run": _called("torch.utils.collect_env.run", command=_shell),
    "torch.utils.collect_env.subprocess.Popen": _called("torch.utils.collect_env.subprocess.Popen", args=_words),
    "yaml.unsafe_load": _called("yaml.unsafe_load", stream=_unsafe_yaml),
    "yaml.load": _called("yaml.load", stream=_unsafe_yaml, Loader={"_target_": "yaml.UnsafeLoader", "_partial_": True}),
    "torch.load": _called("torch.load", f=_torch_file, weights_only=False),
    "torch.serialization.load": _called("torch.serialization.load", f=_torch_file, weights_only=False),
    "torch.serialization.pickle.load": _called("torch.serialization.pickle.loads", _args_=[_pickle_file]),
    "pandas.read_pickle": _called("pandas.read_pickle", filepath_or_buffer=_pickle_file),
    "pandas.io.pickle.read_pickle": _called("pandas.io.pickle.read_pickle", filepath_or_buffer=_pickle_file),
    "joblib.numpy_pickle.load": _called("joblib.numpy_pickle.load", filename=_pickle_file),
    "joblib.load": _called("joblib.load", filename=_pickle_file),
    "numpy.load": _called("numpy.load", file=_npz_of_pickles, allow_pickle=True),
    "numpy.lib.npyio.load": _called("numpy.lib._npyio_impl.load", file=_npz_of_pickles, allow_pickle=True),
    "numpy.lib.format.read_array": _called("numpy.lib.format.open_memmap", filename=_mark, mode="w+", shape=[1]),
    "logging.config.dictConfig": _called("logging.config.dictConfig", config=_handlers),
    "torch.hub.load": _called("torch.hub.load", repo_or_dir=_hub, source="local", model="f"),
    "torch.hub.hub_load": _called("torch.hub._load_local", hubconf_dir=_hub, model="f"),
    "torch.hub.load_state_dict_from_url": _called("torch.hub.load_state_dict_from_url", url="http://127.0.0.1:9/x.pt"),
    "torch.ops.load_library": _called("torch.ops.load_library", path=_library),
    "torch.jit.load": _called("torch.jit.load", f=_pickle_file),
    "torch.fx.graph_module": _called("torch.fx.graph_module._exec_with_source", src=_source, globals={}),
    "torch.package.PackageImporter": _called("torch.package.PackageImporter", file_or_buffer=_pickle_file),
    "torch.multiprocessing.spawn": _called(
        "torch.multiprocessing.spawn", fn={"_target_": "os.system", "command": _shell}
    ),
    "hydra.utils.instantiate": _called(
        "hydra.utils.instantiate", config={"_target_": "hydra.utils.call", "_args_": [{"_target_": "os.system"}]}
    ),
    "hydra.utils.call": _called("hydra._internal.instantiate._instantiate2.instantiate", config={"x": _shell}),
    "hydra.utils.get_method": _called("hydra.utils.get_method", path="os.system"),
    "omegaconf resolver": _called(
        "omegaconf.OmegaConf.register_new_resolver", name="x", resolver={"_target_": "os.system", "_partial_": True}
    ),
    "numpy.testing.rundocs": _called("numpy.testing.rundocs", filename=_doctest),
    "numpy.f2py": _called("numpy.f2py.run_main", comline_list=_words),
    "pyro.get_param_store().load": _called(
        "pyro.params.param_store._PYRO_PARAM_STORE.load", filename=_torch_file, map_location="cpu"
    ),
    "pandas.eval": _called("pandas.eval", expr="@__import__('os').getcwd()", engine="python"),
    "pandas.query": _called("pandas.core.computation.eval.eval", expr="1+1", target=None),
    "numpy.savetxt": _called("numpy.savetxt", fname=_mark, X=[1.0]),
    "torch.save": _called("torch.save", obj=1, f=_mark),
    "h5py.File": _called("h5py.File", name=_outside("target.txt"), mode="w"),
    "pandas get_handle": _called("pandas.io.common.get_handle", path_or_buf=_outside("target.txt"), mode="w"),
    "write_atomically": _called("ppl_vae.runs.files.write_atomically", path=_outside("target.txt"), content="x"),
    "ppl_vae.files.replacing": _called("ppl_vae.runs.files.append", path=_outside("target.txt"), text="x"),
    "ppl_vae.cli.main": _called("ppl_vae.cli.main", argv=["train", "trainer.epochs=1", _run_outside]),
    "ppl_vae.runs.Run.load": _called("ppl_vae.runs.run.Run.load", name="latest"),
    "ppl_vae download": _called("ppl_vae.datasets.download.download", url="http://127.0.0.1:9/x", sha256="x"),
    "ppl_vae subprocess": _called("ppl_vae.runs.recorder.subprocess.call", args=_words),
    "ppl_vae importlib": _called("ppl_vae.config.targets.importlib.import_module", name="evil"),
    "ppl_vae locate": _called("ppl_vae.config.targets.locate", path="os.system", where="x"),
    "ppl_vae build": _called("ppl_vae.config.targets.build", where="x", node={"_target_": "os.system"}),
    "matplotlib.style.use": _called("matplotlib.pyplot.style.use", style="http://127.0.0.1:9/style"),
    "sklearn.get_data_home": _called("sklearn.datasets.get_data_home", data_home=_outside("data")),
    "pandas.read_csv": _called("pandas.read_csv", filepath_or_buffer="http://127.0.0.1:9/x.csv"),
    "filelock": _called("filelock.FileLock", lock_file=_mark),
    "torch.nn.Module.__init_subclass__": _called("torch.nn.Module.load_state_dict", state_dict={}),
    "torch.compile": _called("torch.compile", model={"_target_": "os.system", "_partial_": True, "command": _shell}),
    "torch.autograd.profiler": _called("torch.profiler.profile", on_trace_ready={"_target_": "os.system"}),
    "torch.utils.cpp_extension": _called("torch.utils.cpp_extension.load", name="x", sources=_words),
    "torch.distributed store": _called("torch.distributed.TCPStore", host_name="127.0.0.1", port=9, is_master=False),
    "torch.SummaryWriter": _called("torch.utils.tensorboard.SummaryWriter", log_dir=_mark),
    "cloudpickle.loads": _called("cloudpickle.loads", _args_=["b"]),
    "xarray.open_dataset": _called("xarray.open_dataset", filename_or_obj="http://127.0.0.1:9/x.nc"),
    "jinja2.Template": _called("jinja2.Template", source="{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "functools.partial": _called("functools.partial", func={"_target_": "os.system"}, command=_shell),
    "torch.functional lambda": _called("torch.utils._pytree.tree_map", func={"_target_": "os.system"}, tree=_words),
}
"""Callables that a config names, with what makes them do harm."""

PLACES = (
    "dataset",
    "dataset.seed",
    "dataset.transform",
    "likelihood",
    "likelihood.scale",
    "model",
    "model.activation",
    "model.hidden.0",
    "model.prior",
    "model.decoder",
    "model.extra",
    "guide",
    "guide.activation",
    "guide.encoder",
    "guide.hidden",
    "estimator",
    "estimator.z",
    "estimator.z.baseline",
    "objective",
    "objective.beta",
    "objective.weights",
    "objective.weights.z",
    "optimizer",
    "optimizer.lr",
    "optimizer.betas.0",
    "scheduler",
    "scheduler.warmup",
    "logger",
    "logger.options",
    "logger.options.mlflow",
    "trainer",
    "trainer.groups",
    "trainer.epochs",
    "engine",
    "engine.device",
    "results",
    "results.draws",
    "spec",
    "spec.fields.0",
    "provenance",
    "name",
    "seed",
)
"""Where in a config a target may stand, sensibly or not."""


def _at(place: str, node: Node) -> Make:
    def make(case: Case) -> None:
        case.config(lambda config: put(config, place, node(case)))

    return make


def _edit(place: str, value: Any) -> Make:
    def make(case: Case) -> None:
        case.config(lambda config: put(config, place, value(case) if callable(value) else value))

    return make


def targets() -> Iterator[Kind]:
    """Code that is named in the config."""
    for name, node in NODES.items():
        place = "dataset.seed" if name in ("ppl_vae.cli.main",) else "model.activation"
        yield Kind(f"called: {name}", f"calls {name} as an activation", _at(place, node))
    for place in PLACES:
        node = NODES["torch.utils.collect_env.run"]
        yield Kind(f"place: {place}", f"calls a shell's command in place of {place}", _at(place, node))
    run = NODES["torch.utils.collect_env.run"]
    deep: dict[str, Node] = {
        "a list in a list": lambda case: {"_target_": "torch.nn.Sequential", "_args_": [[[run(case)]]]},
        "a mapping in a list": lambda case: {"_target_": "torch.nn.ELU", "alpha": [{"a": [run(case)]}]},
        "_args_": lambda case: {"_target_": "torch.nn.Sequential", "_args_": [run(case)]},
        "_partial_": lambda case: {**run(case), "_partial_": True},
        "_recursive_": lambda case: {"_target_": "torch.nn.ELU", "_recursive_": True, "alpha": run(case)},
        "_convert_": lambda case: {"_target_": "torch.nn.ELU", "_convert_": "all", "alpha": run(case)},
        "a target of a target": lambda case: {"_target_": {"_target_": "torch.utils.collect_env.run"}, **run(case)},
        "a wrong signature, its argument called before": lambda case: {
            "_target_": "torch.nn.ELU",
            "no_such_argument": run(case),
        },
        "a target as a number": lambda case: {"_target_": 3, "alpha": run(case)},
        "a name with a space": lambda case: {**run(case), "_target_": " torch.utils.collect_env.run "},
        "a relative name": lambda case: {**run(case), "_target_": "..os.system"},
        "a name with brackets": lambda case: {**run(case), "_target_": "torch.utils.collect_env.run()"},
        "a dunder on the way": lambda case: {
            "_target_": "torch.nn.ReLU.__init__.__globals__.get",
            "_args_": ["__builtins__"],
        },
        "a class's subclasses": lambda case: {"_target_": "torch.nn.Module.__class__.__subclasses__"},
        "a module's loader": lambda case: {"_target_": "torch.nn.__loader__.load_module", "fullname": "torch"},
        "a metaclass": lambda case: {"_target_": "torch.nn.ReLU.__class__", "_args_": ["X", [], {}]},
        "a distribution's method": lambda case: {"_target_": "pyro.distributions.Normal.__init__.__globals__.get"},
        "an alias in another module": lambda case: {**run(case), "_target_": "torch.nn.modules.module.os.system"},
        "sixty targets in each other": lambda case: _nested({"_target_": "torch.nn.ELU"}, 60),
    }
    for name, node in deep.items():
        yield Kind(f"nested: {name}", f"hides the target in {name}", _at("model.activation", node))
    yield Kind("estimators: nested", "a target in an estimator's argument", _at(
        "estimator", lambda case: {"z": {"_target_": "ppl_vae.estimators.ScoreFunction", "baseline": run(case)}}))  # fmt: skip
    yield Kind("optimizer value", "a target as the value of a key of Adam's", _at("optimizer.eps", run))
    yield Kind("loggers: a list", "a target in a list of trackers", _at(
        "logger", lambda case: {"_target_": "ppl_vae.runs.loggers.Trackers", "_args_": [run(case)]}))  # fmt: skip
    yield Kind("logger: a stranger's", "a logger that leaves a mark", _at(
        "logger", lambda case: {"_target_": "torch.utils.tensorboard.SummaryWriter", "log_dir": str(case.mark)}))  # fmt: skip


def _nested(node: dict[str, Any], depth: int) -> dict[str, Any]:
    return node if depth == 0 else {"_target_": "torch.nn.Sequential", "_args_": [_nested(node, depth - 1)]}


def modules() -> Iterator[Kind]:
    """Code that lies beside the run."""

    def named(folder: str, *, listed: bool = True) -> Make:
        def make(case: Case) -> None:
            place = case.folder / folder
            case.module("evil_models", place)
            if listed:
                case.record(user_modules=[str(place)])
            case.config(lambda c: (put(c, "model", {"_target_": "evil_models.Model"}), None)[1])

        return make

    yield Kind("modules: of the run", "its own module beside config.yaml, named as user_modules", named("sent/run"))
    yield Kind("modules: a folder of the run", "a folder in the run as user_modules", named("sent/run/code"))
    yield Kind("modules: elsewhere", "user_modules in a folder outside", named("outside/code"))
    yield Kind("modules: beside the run, typed there", "a module beside the run, in the working directory",
               named("sent", listed=False), cwd="sent")  # fmt: skip
    yield Kind("modules: in the run, typed there", "a module in the run, which is the working directory",
               named("sent/run", listed=False), cwd="inside")  # fmt: skip

    def package(case: Case) -> None:
        case.module("__init__", case.sent / "run" / "evil_package")
        case.record(user_modules=[str(case.run)])
        case.config(lambda c: put(c, "guide", {"_target_": "evil_package.Guide"}))

    yield Kind("modules: a package", "a package in the run as user_modules", package)

    def zipped(case: Case) -> None:
        with zipfile.ZipFile(case.run / "code.zip", "w") as file:
            file.writestr("evil_models.py", case.python + "class Model: pass\n")
        case.record(user_modules=[str(case.run / "code.zip")])
        case.config(lambda c: put(c, "model", {"_target_": "evil_models.Model"}))

    yield Kind("modules: a zip", "an archive as user_modules", zipped)
    for name in ("wandb", "trackio", "zuko", "pyarrow", "mlflow", "tensorboard", "optuna", "IPython", "ipywidgets"):
        def shadow(case: Case, name: str = name) -> None:
            case.module(name)
            case.module(name, case.sent)
            case.record(user_modules=[str(case.run), str(case.sent)])

        yield Kind(f"shadow: {name}", f"{name}.py in the run, found where the package is not installed or later", shadow,
                   cwd="inside")  # fmt: skip
    for name in ("matplotlib", "torch", "numpy", "pandas", "hydra", "ppl_vae", "yaml", "json", "logging",
                 "sitecustomize", "usercustomize", "filelock", "hydra_plugins/evil", "conf/__init__"):  # fmt: skip
        def cold(case: Case, name: str = name) -> None:
            for place in (case.run, case.sent):
                (place / name).parent.mkdir(exist_ok=True)
                (place / f"{name}.py").write_text(case.python)
            case.record(user_modules=[str(case.run)])

        yield Kind(f"cold shadow: {name}", f"{name}.py in the working directory, for a new interpreter", cold,
                   cwd="inside", cold=True, doors=("evaluate", "report"))  # fmt: skip

    def matplotlibrc(case: Case) -> None:
        for place in (case.run, case.sent):
            case.module("evil_backend", place)
            (place / "matplotlibrc").write_text("backend: module://evil_backend\n")

    yield Kind("cold: matplotlibrc", "a backend of its own in a matplotlibrc of the working directory", matplotlibrc,
               cwd="inside", cold=True, doors=("report", "posterior"), also={"MPLBACKEND": ""})  # fmt: skip

    def configs(case: Case) -> None:
        for place in (case.run, case.sent):
            (place / "conf").mkdir(exist_ok=True)
            for verb in ("evaluate", "report", "train"):
                (place / "conf" / f"{verb}.yaml").write_text(
                    "defaults:\n  - _self_\nhydra:\n  callbacks:\n    x:\n      _target_: evil_models.Model\n"
                )
            case.module("evil_models", place)

    yield Kind("cold: conf/", "a folder conf/ in the working directory with callbacks", configs, cwd="inside", cold=True,
               doors=("evaluate", "report"))  # fmt: skip

    def forged(case: Case) -> None:
        named("sent/run")(case)
        for name in ("trusted", ".trusted", "trust", ".trust"):
            (case.run / name).write_text("true")
        case.record(user_modules=[str(case.run)], trusted=True, trust=True, host="localhost", user="root")
        case.config(lambda c: c.update(trust=True, trusted=True))

    yield Kind("trust: claimed", "says of itself that it is trusted", forged)

    def in_outputs(case: Case) -> None:
        named("sent/run")(case)
        (case.folder / "cwd" / "outputs" / "a").mkdir(parents=True)
        (case.folder / "cwd" / "outputs" / "a" / "run").symlink_to(case.run)

    yield Kind("trust: linked from outputs", "a link to it stands under outputs/", in_outputs)


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
            case.config(lambda c: put(c, "dataset", {"_target_": f"ppl_vae.datasets.{loader}", "path": str(case.run / name)}))

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
    for place in ("spec.fields.0.name", "dataset._target_", "model.activation", "engine.device", "optimizer.lr", "seed"):
        yield Kind(f"resolver at {place}", "the secret in an error message or a table", _edit(place, "${oc.env:TORTURE_SECRET}"))
    yield Kind("resolver: a key", "a key that is resolved", lambda case: case.config(
        lambda c: c["provenance"].update({"${oc.env:TORTURE_SECRET}": 1})))  # fmt: skip
    yield Kind("resolver: uid and scratch", "resolvers of this package, of which one makes a folder", _edit("name", "${scratch:}"))
    yield Kind("resolver: the data's path", "a path that is resolved", lambda case: case.config(
        lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npy", "path": "/nowhere/${oc.env:TORTURE_SECRET}"})))  # fmt: skip
    yield Kind("resolver: run.json", "an interpolation in the record", lambda case: case.record(
        status="failed", error="${oc.env:TORTURE_SECRET}", started="${oc.env:TORTURE_SECRET}"))  # fmt: skip

    def environment(case: Case) -> None:
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.csv", "path": "/proc/self/environ"}))

    yield Kind("secret: /proc/self/environ", "the environment as data, to be told in an error", environment)

    def text(case: Case) -> None:
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.csv", "path": str(case.outside / "secret.txt")}))

    yield Kind("secret: a text as data", "a secret file as data, to be told in an error", text)
    for key in ("user_modules", "command", "overrides"):
        def traversal(case: Case, key: str = key) -> None:
            case.record(**{key: ["../../outside", "/etc", str(case.outside)]})

        yield Kind(f"traversal: {key}", f"paths outside in {key} of run.json", traversal)


def yamls() -> Iterator[Kind]:
    """YAML that is more than data."""
    def text(make: Callable[[Case, str], str]) -> Make:
        def made(case: Case) -> None:
            path = case.run / "config.yaml"
            path.write_text(make(case, path.read_text()))

        return made

    tags = {
        "python/object/apply": "!!python/object/apply:os.system ['{shell}']",
        "python/object/new": "!!python/object/new:os.system ['{shell}']",
        "python/name": "!!python/name:os.system",
        "python/module": "!!python/module:evil",
        "python/object": "!!python/object:os.system {{}}",
        "binary": "!!binary aGVsbG8=",
        "a tag of its own": "!evil [1]",
        "set": "!!set {{a, b}}",
    }
    for name, tag in tags.items():
        yield Kind(f"YAML: {name}", f"a value with the tag {name}", text(
            lambda case, old, tag=tag: old + f"extra: {tag.format(shell=case.shell)}\n"))  # fmt: skip
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    bombs: dict[str, Callable[[Case, str], str]] = {
        "a billion laughs": lambda case, old: old + laughs,
        "a circle": lambda case, old: old + "extra: &x [*x]\n",
        "a hundred thousand brackets": lambda case, old: old + "extra: " + "[" * 100_000 + "\n",
        "deep blocks": lambda case, old: old + "".join(" " * n + "a:\n" for n in range(3000)),
        "a million keys": lambda case, old: old + "extra:\n" + "".join(f"  k{n}: 1\n" for n in range(300_000)),
        "a text of 32 MB": lambda case, old: old + "extra: " + "x" * (32 << 20) + "\n",
        "a number of a million digits": lambda case, old: old + "extra: " + "9" * 1_000_000 + "\n",
        "a sexagesimal number": lambda case, old: old + "extra: " + ":".join(["59"] * 20_000) + "\n",
        "merged keys": lambda case, old: old + "b0: &b0 {x: 1}\n" + "".join(
            f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 20)}], y: 1}}\n" for n in range(1, 12)),  # fmt: skip
        "two documents": lambda case, old: old + "---\na: 1\n",
        "no mapping": lambda case, old: "- 1\n- 2\n",
        "NUL bytes": lambda case, old: old + "extra: \"\0\0\"\n",
        "interpolations in a circle": lambda case, old: old + "extra: ${other}\nother: ${extra}\n",
        "interpolations that double": lambda case, old: old + "x0: aaaaaaaaaaaaaaaa\n" + "".join(
            f"x{n}: ${{x{n - 1}}}${{x{n - 1}}}\n" for n in range(1, 40)) + "name: ${x39}\n",  # fmt: skip
        "interpolations nested deep": lambda case, old: old + "extra: " + "${" * 20_000 + "\n",
        "a long anchor": lambda case, old: old + f"extra: &{'a' * 1_000_000} 1\n",
        "complex keys": lambda case, old: old + "? [a, {b: c}]\n: 1\n",
        "UTF-16": lambda case, old: "\ufeff" + old,
        "nothing": lambda case, old: "",
    }
    for name, make in bombs.items():
        yield Kind(f"YAML: {name}", f"a config with {name}, to take time or memory", text(make))


def jsons() -> Iterator[Kind]:
    """JSON that takes time, memory or the stack, and entries of other types."""
    bombs: dict[str, Callable[[], str]] = {
        "brackets": lambda: "[" * 200_000,
        "nested mappings": lambda: '{"status": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001,
        "a number of a million digits": lambda: '{"status": "finished", "seed": ' + "9" * 1_000_000 + "}",
        "a surrogate": lambda: '{"status": "\\ud800", "verb": "train"}',
        "no finite numbers": lambda: '{"status": "finished", "seconds": NaN, "result": {"test/elbo": -Infinity}}',
        "32 MB": lambda: '{"status": "finished", "x": "' + "y" * (32 << 20) + '"}',
        "a list": lambda: "[]",
        "null": lambda: "null",
        "status as a mapping": lambda: '{"status": {}, "verb": []}',
        "not UTF-8": lambda: "\udcff",
    }
    for name in ("run.json", "recipe.json", "evaluation/test/summary.json", "trackers.json"):
        for what, text in bombs.items():
            if name != "run.json" and what in ("32 MB", "status as a mapping"):
                continue

            def made(case: Case, name: str = name, text: Callable[[], str] = text) -> None:
                (case.run / name).write_bytes(text().encode(errors="surrogateescape"))

            yield Kind(f"JSON: {name}, {what}", f"{name} with {what}", made)
    odd = {
        "user_modules as text": {"user_modules": "/"},
        "user_modules of numbers": {"user_modules": [1, None, {}, []]},
        "user_modules with NUL": {"user_modules": ["a\0b"]},
        "a million user_modules": {"user_modules": ["/tmp"] * 300_000},
        "result as a list": {"result": [1, 2]},
        "result of texts": {"result": {"validation/elbo": "x", "epochs": {}}},
        "overrides as a mapping": {"overrides": {"a": 1}},
        "choices as a list": {"choices": [1]},
        "versions as a number": {"versions": 3},
        "started as a list": {"started": [1], "finished": {}},
        "seconds as text": {"seconds": "a"},
        "job as text": {"job": "0/../../outside"},
        "resumed as text": {"resumed": "x"},
        "verb of another": {"verb": "fit"},
    }
    for name, facts in odd.items():
        yield Kind(f"record: {name}", f"run.json with {name}", lambda case, facts=facts: case.record(**facts))
    rows: dict[str, Callable[[], str]] = {
        "a line that is a list": lambda: "[1]\n",
        "a line of texts": lambda: '{"epoch": "x", "step": {}, "train/bound": []}\n',
        "a line of 100,000 keys": lambda: json.dumps({f"k{n}": n for n in range(100_000)}) + "\n",
        "a line of brackets": lambda: "[" * 200_000 + "\n",
        "a line of 32 MB": lambda: '{"epoch": 1, "x": "' + "y" * (32 << 20) + '"}\n',
        "bytes": lambda: "\udcff\udcfe\n",
        "200,000 lines": lambda: '{"epoch": 1, "step": 1}\n' * 200_000,
    }
    for name, line in rows.items():
        def appended(case: Case, line: Callable[[], str] = line) -> None:
            path = case.run / "metrics.jsonl"
            path.write_bytes(path.read_bytes() + line().encode(errors="surrogateescape"))

        yield Kind(f"metrics: {name}", f"metrics.jsonl with {name}", appended)


def tensors() -> Iterator[Kind]:
    """Files of tensors that are something else, or say what is not so."""
    def written(name: str, make: Callable[[Case, bytes], bytes]) -> Make:
        def made(case: Case) -> None:
            path = case.run / name
            path.write_bytes(make(case, path.read_bytes()))

        return made

    def header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Case, bytes], bytes]:
        def made(case: Case, old: bytes) -> bytes:
            (size,) = struct.unpack("<Q", old[:8])
            found = json.loads(old[8 : 8 + size])
            text = json.dumps(change(found) or found).encode()
            return struct.pack("<Q", len(text)) + text + old[8 + size :]

        return made

    def first(found: dict[str, Any]) -> dict[str, Any]:
        return next(v for k, v in found.items() if k != "__metadata__")

    def state(text: str) -> Callable[[dict[str, Any]], Any]:
        return lambda found: found.update(__metadata__={"ppl_vae": text})

    changes: dict[str, Callable[[Case, bytes], bytes]] = {
        "a pickle": lambda case, old: case.pickle,
        "a torch file": lambda case, old: Path(_torch_file(case)).read_bytes(),
        "a length of 2^62": lambda case, old: struct.pack("<Q", 1 << 62) + old[8:],
        "a shape of 2^50": header(lambda found: first(found).update(shape=[1 << 50])),
        "a negative shape": header(lambda found: first(found).update(shape=[-1])),
        "tensors that overlap": header(lambda found: [v.update(data_offsets=[0, 4]) for k, v in found.items() if k != "__metadata__"] and None),
        "another type": header(lambda found: first(found).update(dtype="F99")),
        "names of methods": header(lambda found: found.update({"__class__": first(found)})),
        "a state that is nested deep": header(state('{"state": ' + "[" * 100_000)),
        "a state of tensors that are not there": header(state('{"state": {"$tensor": "no"}}')),
        "a state with $dict in a circle": header(state('{"state": {"$dict": [[{"$tensor": "no"}, 1]]}}')),
        "a state with lists as keys": header(state('{"state": {"$dict": [[[1], 1]]}}')),
        "a state with $packed": header(state('{"state": {"$packed": [1, 2, 3, 4]}}')),
        "a state with a long float": header(state('{"state": {"$float": "' + "9" * 100_000 + '"}}')),
        "another version": header(state('{"version": 99, "state": {"version": 99}}')),
        "a header of 300,000 names": header(lambda found: found.update({f"n{n}": first(found) for n in range(100_000)})),
    }
    for name in ("model.safetensors", "checkpoints/last.safetensors", "reference.safetensors"):
        for what, change in changes.items():
            yield Kind(f"tensors: {name}, {what}", f"{name} as {what}", written(name, change))

    def ones(name: str, value: Any) -> Make:
        return _edit(name, value)

    huge = {
        "spec.shape": [10**12],
        "spec.fields.0.shape": [10**9, 10**9],
        "model.latent_dim": 10**9,
        "model.hidden": [10**9],
        "guide.hidden": [10**5] * 50,
        "dataset.num_data": 10**12,
        "dataset.columns": 10**9,
        "trainer.batch_size": 10**30,
        "trainer.epochs": 10**30,
        "seed": 10**40,
        "engine.threads": 10**9,
        "dataset.validation": 1e308,
        "objective.num_particles": 10**12,
        "results.draws": 10**12,
    }
    for place, value in huge.items():
        yield Kind(f"huge: {place}", f"{place}={value}, to take time or memory", ones(place, value))
    yield Kind("huge: a list of layers", "a million layers", ones("model.hidden", [1] * 300_000))

    def pickled_data(case: Case) -> None:
        array = np.empty(40, dtype=object)
        array[:] = [_Payload(case.shell)] * 40
        np.savez(case.run / "x.npz", train=array, validation=array, test=array)
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npz", "path": str(case.run / "x.npz")}))

    yield Kind("data: an npz of pickles", "data that are pickles", pickled_data)

    def zipped(case: Case) -> None:
        with zipfile.ZipFile(case.run / "x.npz", "w", zipfile.ZIP_DEFLATED) as file:
            with file.open("x.npy", "w", force_zip64=True) as inner:
                inner.write(b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (2147483648, 1), }".ljust(117) + b"\n")
                for _ in range(2048):
                    inner.write(bytes(1 << 18))
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npz", "path": str(case.run / "x.npz")}))

    yield Kind("data: a zip bomb", "an npz that is small and holds 2 GB", zipped)

    def npy(case: Case) -> None:
        text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 2000 + ")" * 2000 + "), }"
        head = text.encode().ljust(5000) + b"\n"
        (case.run / "x.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(head)) + head)
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npy", "path": str(case.run / "x.npy")}))

    yield Kind("data: a nested header", "a header of npy that is nested deep", npy)


def hdf5() -> Iterator[Kind]:
    """`posterior.nc` that leads elsewhere."""
    def changed(make: Callable[[Case, Any], Any]) -> Make:
        def made(case: Case) -> None:
            import h5py

            np.full(4096, NUMBER, dtype="<f8").tofile(case.outside / "secret.bin")
            with h5py.File(case.outside / "secret.h5", "w") as file:
                file["z"] = np.full((1, 10, 8, 2), NUMBER)
                file["note"] = SECRET
            with h5py.File(case.run / "posterior.nc", "r+") as file:
                make(case, file)

        return made

    def external(case: Case, file: Any) -> None:
        import h5py

        group = file["posterior"]
        group["other"] = h5py.ExternalLink(str(case.outside / "secret.h5"), "/z")
        file["more"] = h5py.ExternalLink(str(case.outside / "secret.h5"), "/")

    def storage(case: Case, file: Any) -> None:
        old = file["posterior"]["z"]
        shape, dims = old.shape, [d for d in old.attrs.items()]
        del file["posterior"]["z"]
        files = [(str(case.outside / "secret.bin"), 0, int(np.prod(shape)) * 8)]
        made = file["posterior"].create_dataset("z", shape=shape, dtype="<f8", external=files)
        for key, value in dims:
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                made.attrs[key] = value

    def virtual(case: Case, file: Any) -> None:
        import h5py

        layout = h5py.VirtualLayout(shape=(1, 10, 8, 2), dtype="<f8")
        layout[:] = h5py.VirtualSource(str(case.outside / "secret.h5"), "z", shape=(1, 10, 8, 2))
        del file["posterior"]["z"]
        file["posterior"].create_virtual_dataset("z", layout)

    def circle(case: Case, file: Any) -> None:
        import h5py

        file["posterior/again"] = h5py.SoftLink("/posterior")
        file["posterior/up"] = file["/"]

    def bomb(case: Case, file: Any) -> None:
        group = file["posterior"]
        group.create_dataset("bomb", shape=(10**7, 10**4), dtype="f8", chunks=(1000, 1000), compression="gzip")

    def huge(case: Case, file: Any) -> None:
        file["posterior"].create_dataset("huge", shape=(10**15,), dtype="f8", chunks=(1024,))

    def groups(case: Case, file: Any) -> None:
        here = file
        for _ in range(2000):
            here = here.create_group("g")

    def many(case: Case, file: Any) -> None:
        for n in range(5000):
            file.create_group(f"g{n}")

    def attributes(case: Case, file: Any) -> None:
        file.attrs["note"] = MARKUP
        file["posterior"].attrs["x"] = "y" * 60_000
        file["posterior"].attrs["_FillValue"] = np.array([1, 2])
        file["posterior"].attrs["units"] = "days since 0000-00-00"

    def kinds(case: Case, file: Any) -> None:
        import h5py

        file["posterior/ref"] = file["posterior"].ref
        file["posterior"].create_dataset("void", data=np.zeros(3, dtype="V8"))
        file["posterior"].create_dataset("texts", data=["a", "b"], dtype=h5py.string_dtype())

    for name, tries, make in (
        ("external link", "a group of a file outside", external),
        ("external storage", "values that lie in a file outside", storage),
        ("virtual dataset", "values that lie in another HDF5 file outside", virtual),
        ("links in a circle", "groups that hold themselves", circle),
        ("an array of 800 GB", "an array that is small on the disk", bomb),
        ("an array of 8 PB", "an array that is nothing on the disk", huge),
        ("groups nested deep", "2,000 groups in each other", groups),
        ("5,000 groups", "many groups", many),
        ("odd attributes", "attributes of other types", attributes),
        ("odd types", "references, voids and texts", kinds),
    ):
        yield Kind(f"HDF5: {name}", f"posterior.nc with {tries}", changed(make))

    def pickled(case: Case) -> None:
        (case.run / "posterior.nc").write_bytes(case.pickle)

    yield Kind("HDF5: a pickle", "posterior.nc is a pickle", pickled)

    def url(case: Case) -> None:
        (case.run / "posterior.nc").write_text("http://127.0.0.1:9/x.nc")

    yield Kind("HDF5: an address", "posterior.nc holds an address", url)


def pages() -> Iterator[Kind]:
    """Markup, formulas and a terminal's escapes in whatever is shown."""
    def change(case: Case, text: str, key: str) -> None:
        if key == "name":
            case.config(lambda c: put(c, "name", text))
        elif key == "source":
            case.config(lambda c: put(c, "provenance.source", text))
        elif key == "field":
            case.config(lambda c: put(c, "spec.fields.0.name", text))
        elif key == "a key of the config":
            case.config(lambda c: c["provenance"].update({text: text}))
        elif key == "error":
            case.record(status="failed", error=text)
            (case.run / "error.txt").write_text(text)
        elif key == "status":
            case.record(status=text)
        elif key == "record":
            case.record(versions={text: text}, git={"commit": text}, started=text, finished=text, seconds=text, seed=text)
        elif key == "result":
            case.json("run.json", lambda record: record["result"].update({text: text, "best_epoch": text}))
        elif key == "metrics":
            rows = [json.loads(line) for line in (case.run / "metrics.jsonl").read_text().splitlines()]
            rows = [row | {f"{text}": 1.0, f"validation/{text}": 2.0} for row in rows]
            (case.run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif key == "summary":
            case.json("evaluation/test/summary.json", lambda found: found.update({text: text, "elbo": text}))
        elif key == "table":
            path = case.run / "evaluation" / "test" / "table.csv"
            lines = path.read_text().splitlines()
            path.write_text("\n".join([f'{lines[0]},"{text.replace(chr(34), chr(39))}"', *(f"{line},1" for line in lines[1:])]))
        elif key == "posterior.csv":
            path = case.run / "posterior.csv"
            path.write_text(path.read_text().replace("z[", text.replace(",", "").replace('"', "'") + "["))
        elif key == "figure":
            (case.run / "figures").mkdir(exist_ok=True)
            (case.run / "figures" / "gaps.png").write_bytes(f'"{text}'.encode())
        elif key == "further":
            for name in ("probe", "checks", text.replace("/", "_")[:60].replace("\0", "")):
                (case.run / "evaluation" / "test" / f"{name}.json").write_text(json.dumps({text: text}))
        elif key == "folder":
            renamed = case.run.with_name(text.replace("/", "_"))
            case.run.rename(renamed)
            (case.folder / "renamed").write_text(renamed.name)
        else:
            raise KeyError(key)

    keys = ("name", "source", "field", "a key of the config", "error", "status", "record", "result", "metrics", "summary",
            "table", "posterior.csv", "figure", "further", "folder")  # fmt: skip
    for what, text in (("markup", MARKUP), ("a script", f'"{SCRIPT}'), ("a formula", FORMULA), ("escapes", ESCAPE)):
        for key in keys:
            yield Kind(f"page: {what} as {key}", f"{what} as {key}, to be shown as it is",
                       lambda case, text=text, key=key: change(case, text, key))  # fmt: skip

    def svg(case: Case) -> None:
        (case.run / "figures").mkdir(exist_ok=True)
        for name in ("gaps.svg", "calibration.png"):
            (case.run / "figures" / name).write_text(f"<svg onload='alert(4711)'>{SCRIPT}</svg>")

    yield Kind("page: a drawing with a script", "an SVG in place of a PNG", svg)


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
        "filters": lambda case: f'[filter "evil"]\n\tclean = {case.shell}\n\tsmudge = {case.shell}\n\tprocess = {case.shell}\n\trequired = true\n',
        "core.pager": lambda case: f"[core]\n\tpager = {case.shell}\n[pager]\n\tstatus = {case.shell}\n\trev-parse = {case.shell}\n",
        "alias": lambda case: f'[alias]\n\tstatus = "!{case.shell}"\n\trev-parse = "!{case.shell}"\n',
        "core.sshCommand": lambda case: f"[core]\n\tsshCommand = {case.shell}\n\taskPass = {case.shell}\n\teditor = {case.shell}\n",
        "include": lambda case: f"[include]\n\tpath = {case.run}/more\n[core]\n\tfsmonitor = {case.shell}\n",
        "log.showSignature": lambda case: f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {case.shell}\n",
        "diff": lambda case: f'[diff]\n\texternal = {case.shell}\n[diff "evil"]\n\ttextconv = {case.shell}\n\tcommand = {case.shell}\n',
        "partial clone": lambda case: f'[extensions]\n\tpartialClone = x\n[remote "x"]\n\turl = "ext::{case.shell}"\n\tpromisor = true\n',
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

    yield Kind("git: a file that points elsewhere", "`.git` as a file", pointed, cwd="inside", doors=("resume", "gradients"))


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
        "MLflow in a file outside": lambda case: {"_target_": f"{loggers}.MLflow", "tracking_uri": f"file://{case.mark}"},
        "MLflow in a database outside": lambda case: {"_target_": f"{loggers}.MLflow", "tracking_uri": f"sqlite:///{case.mark}"},
        "MLflow's plugin": lambda case: {"_target_": f"{loggers}.MLflow", "tracking_uri": "evil://x"},
        "WandB": lambda case: {"_target_": f"{loggers}.WandB", "project": "x", "mode": "online"},
        "Trackio": lambda case: {"_target_": f"{loggers}.Trackio", "project": "../../outside"},
        "TensorBoard elsewhere": lambda case: {"_target_": f"{loggers}.TensorBoard", "directory": str(case.mark)},
        "CSV elsewhere": lambda case: {"_target_": f"{loggers}.CSV", "directory": str(case.outside)},
        "several": lambda case: {"_target_": f"{loggers}.Several", "trackers": ["mlflow"], "options": {"mlflow": {"tracking_uri": "http://127.0.0.1:9"}}},
        "requests": lambda case: {"_target_": "requests.get", "url": "http://127.0.0.1:9"},
        "urllib": lambda case: {"_target_": "urllib.request.urlopen", "url": "http://127.0.0.1:9"},
    }
    for name, node in nodes.items():
        yield Kind(f"tracker: {name}", f"{name}, when the run goes on", logger(node), doors=("resume", "evaluate", "load"))

    def noted(case: Case) -> None:
        (case.run / "trackers.json").write_text(json.dumps(
            {name: {"run": f"../../../outside/{name}", "uri": "http://127.0.0.1:9"} for name in ("tensorboard", "mlflow", "wandb", "trackio", "csv")}))  # fmt: skip
        logger(lambda c: {"_target_": f"{loggers}.TensorBoard"})(case)

    yield Kind("tracker: trackers.json", "names that lead outside", noted, doors=("resume", "load"))


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
        "a dataset of a stranger": jobs("dataset._target_=torch.utils.collect_env.run", lambda case: f"'+dataset.command={case.shell}'"),
        "a folder outside": jobs(lambda case: f"hydra.run.dir={case.outside}/x"),
        "a folder outside, of a sweep": lambda case: {"hydra": [f"hydra.sweep.dir={case.outside}/x"]},
        "a subfolder outside": lambda case: {"subdir": "../../outside/x", "hydra": ["hydra.sweep.subdir=../../outside/x"]},
        "a subfolder resolved": lambda case: {"subdir": "${oc.env:TORTURE_SECRET}", "hydra": ["hydra.sweep.subdir=${oc.env:TORTURE_SECRET}"]},
        "a launcher": lambda case: {"hydra": ["hydra.launcher._target_=torch.utils.collect_env.run", f"'+hydra.launcher.command={case.shell}'"]},
        "a sweeper": lambda case: {"hydra": ["hydra.sweeper._target_=torch.utils.collect_env.run", f"'+hydra.sweeper.command={case.shell}'"]},
        "a callback": lambda case: {"hydra": [f"+hydra.callbacks.x={{_target_: torch.utils.collect_env.run, command: '{case.shell}'}}"]},
        "logging": lambda case: {"hydra": [f"+hydra.job_logging.handlers.x={{'()': 'os.system', command: '{case.shell}'}}", "+hydra.job_logging.root.handlers=[x]"]},
        "an environment": lambda case: {"hydra": ["+hydra.job.env_set.PYTHONSTARTUP=evil", "+hydra.job.env_copy=[TORTURE_SECRET]"]},
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
        "300,000 jobs": lambda case: {"jobs": [{"number": n, "overrides": ["seed=1"], "choices": {}} for n in range(300_000)]},
        "overrides as texts": lambda case: {"jobs": [{"number": 0, "overrides": "seed=1", "choices": {}}]},
        "overrides of numbers": lambda case: {"jobs": [{"number": 0, "overrides": [1, None, {}], "choices": [1]}]},
        "search as a list": lambda case: {"search": [1, 2], "complete": False},
        "a search elsewhere": lambda case: {"search": {"storage": f"sqlite:///{case.mark}", "n_trials": 3}, "complete": False, "sweeper": "ppl_vae.sweeps.study.Study"},
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
                case.json("run.json", lambda r, m=mine: r.update(overrides=[*r["overrides"], f"+x.y={m}"], error=m, command=["train", m]), case.sweep / str(number))
                case.config(lambda c, m=mine: c.update({"x": {"y": m, text: m}, "name": m}), case.sweep / str(number))
                case.json("evaluation/test/summary.json", lambda s: s.update({text: 1.0}), case.sweep / str(number)) if (
                    case.sweep / str(number) / "evaluation/test/summary.json").exists() else None
            found = json.loads((case.sweep / "sweep.json").read_text())
            new = [job | {"overrides": [*job["overrides"], f"+x.y={text} {job['number']}", f"+{text}={job['number']}"]} for job in found["jobs"]]
            case.plan(jobs=new, overrides=[*found["overrides"], f"+x.y={quoted}"], command=["ppl-vae", "train", text], started_in=text)

        yield Kind(f"sweep page: {what}", f"{what} in keys and values that differ", shown, of="sweep", doors=("compare", "sweeps", "load"))

        def failed(case: Case, text: str = text) -> None:
            case.json("run.json", lambda r: r.update(status="failed", error=text, result=None), case.sweep / "1")
            (case.sweep / "1" / "error.txt").write_text(text)

        yield Kind(f"sweep page: {what} as an error", f"{what} as what a job failed with", failed, of="sweep", doors=("compare", "sweeps"))

        def renamed(case: Case, text: str = text) -> None:
            (case.sweep / "1").rename(case.sweep / text.replace("/", "_"))

        yield Kind(f"sweep page: {what} as a folder", f"{what} as the name of a job's folder", renamed, of="sweep", doors=("compare", "sweeps"))
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

    yield Kind("sweep link: a job", "a job's folder leads to one outside, to be gone on with there", job_outside, of="sweep")

    def note(case: Case) -> None:
        (case.sweep / "sweep.json").unlink()
        (case.sweep / "multirun.yaml").write_text(
            f"hydra:\n  sweeper:\n    _target_: !!python/object/apply:os.system ['{case.shell}']\n  overrides:\n    task: ['${{oc.env:TORTURE_SECRET}}']\n"
            "  sweep: {subdir: x}\n  job: {name: train}\n  runtime: {cwd: /, choices: {}}\n"
        )

    yield Kind("sweep: multirun.yaml", "Hydra's note with tags and resolvers", note, of="sweep")

    def journal(case: Case) -> None:
        (case.sweep / "study.journal").write_bytes(case.pickle)
        case.plan(search={"n_trials": 2, "sampler": {"_target_": "torch.utils.collect_env.run", "command": case.shell}}, complete=False)

    yield Kind("sweep: a study", "a search whose sampler is a command, its journal a pickle", journal, of="sweep")

    def loop(case: Case) -> None:
        (case.sweep / "a").symlink_to(case.sweep)
        (case.sweep / "b").symlink_to("/")

    yield Kind("sweep: folders in a circle", "folders that lead up, and to the root", loop, of="sweep")


def benign() -> Iterator[Kind]:
    """Runs that try nothing, and have to open: a harness that finds everything refused would prove nothing."""
    yield Kind("benign: a run", "nothing", lambda case: None, benign=True)
    yield Kind("benign: a sweep", "nothing", lambda case: None, of="sweep", benign=True)
    for name, place, node in (
        ("a schedule within an objective", "objective.beta",
         {"_target_": "ppl_vae.schedules.linear", "start": 0.0, "end": 1.0, "over": 10}),
        ("an optimizer of torch", "optimizer", {"_target_": "torch.optim.RMSprop", "lr": 0.01}),
        ("an estimator", "estimator", {"_target_": "ppl_vae.estimators.Pathwise"}),
        ("an objective", "objective", {"_target_": "ppl_vae.objectives.IWAE", "num_particles": 3}),
    ):
        kept = ("load", "evaluate", "generate", "report", "check")  # the checkpoint is of what it was
        yield Kind(f"benign: {name}", "nothing", _edit(place, node), benign=True, doors=kept)


def kinds() -> list[Kind]:
    """All of them."""
    families = (benign, targets, modules, links, devices, secrets, yamls, jsons, tensors, hdf5, pages, repositories, trackers, sweeps)
    found = [kind for family in families for kind in family()]
    names = [kind.name for kind in found]
    assert len(set(names)) == len(names), [n for n in names if names.count(n) > 1]
    return found


def forms(text: str) -> list[bytes]:
    """The forms in which a text may stand in a file: as it is, and in base64 at each of three places."""
    raw = text.encode()
    found = [raw, raw.hex().encode()]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        found.append(coded[(shift * 8 + 5) // 6 : -4])
    return found
