"""Code that is named in a config, or lies beside the run."""

import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import yaml

from tests.torture.kinds.case import Case, Kind, Make, Node, Payload, put, put_at


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


def torch_file(case: Case) -> str:
    import torch

    path = case.run / "weights.pt"
    torch.save({"x": Payload(case.shell)}, path)
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
    array[0] = Payload(case.shell)
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
    "torch.load": _called("torch.load", f=torch_file, weights_only=False),
    "torch.serialization.load": _called("torch.serialization.load", f=torch_file, weights_only=False),
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
        "pyro.params.param_store._PYRO_PARAM_STORE.load", filename=torch_file, map_location="cpu"
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


def targets() -> Iterator[Kind]:
    """Code that is named in the config."""
    for name, node in NODES.items():
        place = "dataset.seed" if name in ("ppl_vae.cli.main",) else "model.activation"
        yield Kind(f"called: {name}", f"calls {name} as an activation", put_at(place, node))
    for place in PLACES:
        node = NODES["torch.utils.collect_env.run"]
        yield Kind(f"place: {place}", f"calls a shell's command in place of {place}", put_at(place, node))
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
        yield Kind(f"nested: {name}", f"hides the target in {name}", put_at("model.activation", node))
    yield Kind("estimators: nested", "a target in an estimator's argument", put_at(
        "estimator", lambda case: {"z": {"_target_": "ppl_vae.estimators.ScoreFunction", "baseline": run(case)}}))  # fmt: skip
    yield Kind("optimizer value", "a target as the value of a key of Adam's", put_at("optimizer.eps", run))
    yield Kind("loggers: a list", "a target in a list of trackers", put_at(
        "logger", lambda case: {"_target_": "ppl_vae.runs.loggers.Trackers", "_args_": [run(case)]}))  # fmt: skip
    yield Kind("logger: a stranger's", "a logger that leaves a mark", put_at(
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


def returned() -> Iterator[Kind]:
    """Runs of one's own that came back, or that say they are one's own."""
    run = NODES["torch.utils.collect_env.run"]

    def within(case: Case) -> None:
        """Change a value, and leave every other byte: what stands at the end, a seal say, stays."""
        path = case.run / "config.yaml"
        path.write_text(path.read_text().replace("  activation: relu", f"  activation: {json.dumps(run(case))}", 1))

    yield Kind("returned: a value changed", "a run made here whose config was changed by somebody, all else kept", within,
               here=True)  # fmt: skip

    def appended(case: Case) -> None:
        path = case.run / "config.yaml"
        path.write_text(path.read_text() + f"model: {json.dumps(run(case))}\n")

    yield Kind(
        "returned: something appended", "a run made here, with a second model after its end", appended, here=True
    )

    def before(case: Case) -> None:
        path = case.run / "config.yaml"
        last = path.read_text().rstrip().splitlines()[-1]
        config = yaml.safe_load(path.read_text())
        put(config, "model.activation", run(case))
        path.write_text(yaml.safe_dump(config, sort_keys=False) + (last if last.startswith("#") else "") + "\n")

    yield Kind("returned: another config before the end", "the last line of a run made here after another config", before,
               here=True)  # fmt: skip

    def folders(case: Case) -> None:
        case.module("my_models")
        case.record(user_modules=[str(case.run)])
        path = case.run / "config.yaml"
        path.write_text(path.read_text().replace('user_modules": [', f'user_modules": [{json.dumps(str(case.run))}, '))

    yield Kind(
        "returned: another folder of modules", "one's own run, its modules now beside it", folders, "own", here=True
    )

    def beside(case: Case) -> None:
        case.module("my_models")
        case.module("my_models", case.sent)

    for cwd in ("elsewhere", "sent", "inside"):
        yield Kind(f"returned: a module of the same name, typed {cwd}",
                   "one's own run, with another module of the same name beside it", beside, "own", cwd, here=True)  # fmt: skip
        yield Kind(f"own class of somebody else, typed {cwd}",
                   "a run that names a class of its maker's, which lies beside it", beside, "own", cwd)  # fmt: skip
    yield Kind("own class of somebody else", "a run that names a class of its maker's, where that still lies",
               lambda case: None, "own")  # fmt: skip
