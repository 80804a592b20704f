"""What a config might name to run code, and every place in a config where it might be put."""

from __future__ import annotations

import copy
import pickle
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MARK = "hostile_mark"
"""The file that hostile code makes, in the working directory."""


class _Runs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return (exec, (f"open({str(self.folder / MARK)!r}, 'w').close()",))


def prepare(folder: Path) -> None:
    """Put files into a folder, which is to be the working directory, that make the mark when they are used."""
    code = f"open({str(folder / MARK)!r}, 'a').close()\n"
    (folder / "evil.py").write_text(f"{code}\ndef run(*_, **__):\n    {code}\nclass Run:\n    pass\n")
    (folder / "evil.pkl").write_bytes(pickle.dumps(_Runs(folder)))
    for name in ("dask", "matplotlib", "cupy", "numba", "tensorboard", "seaborn", "IPython", "sitecustomize"):
        (folder / f"{name}.py").write_text(code)
    (folder / "hydra_plugins").mkdir()
    (folder / "hydra_plugins" / "evil.py").write_text(code)


def targets(folder: Path) -> dict[str, dict[str, Any]]:
    """Nodes that run code where a name is all that counts, each with the arguments that it takes."""
    mark, pickled = str(folder / MARK), str(folder / "evil.pkl")
    shell = f"touch {mark}"
    formatter = {"()": "os.system", "command": shell}
    nodes = [
        ("os.system", {"command": shell}),
        ("posix.system", {"command": shell}),
        ("subprocess.run", {"args": ["touch", mark]}),
        ("subprocess.Popen", {"args": ["touch", mark]}),
        ("builtins.exec", {}),
        ("builtins.open", {"file": mark, "mode": "w"}),
        ("pathlib.Path.touch", {"self": mark}),
        ("importlib.import_module", {"name": "evil"}),
        ("runpy.run_path", {"path_name": str(folder / "evil.py")}),
        ("logging.config.dictConfig", {"config": {"version": 1, "formatters": {"a": formatter}}}),
        ("functools.partial", {}),
        ("pickle.load", {"file": pickled}),
        ("torch.load", {"f": pickled, "weights_only": False}),
        ("torch.serialization.load", {"f": pickled, "weights_only": False}),
        ("torch.hub.load", {"repo_or_dir": str(folder), "model": "run", "source": "local"}),
        ("torch.jit.load", {"f": pickled}),
        ("torch.os.system", {"command": shell}),
        ("torch.utils.collect_env.run", {"command": shell}),
        ("torch.utils.cpp_extension.load_inline", {"name": "evil", "cpp_sources": "", "verbose": False}),
        ("torch.nn.modules.module.warnings.sys.modules", {}),
        ("torch.nn.modules.module.functools.partial", {}),
        ("torch.nn.Module.apply", {"self": None, "fn": None}),
        ("torch.nn.Module", {}),
        ("torch.nn.init.normal_", {"tensor": None}),
        ("torch.nn.parallel.DataParallel", {"module": None}),
        ("torch.optim.Adam.__init__.__globals__", {}),
        ("torch.optim.lr_scheduler.warnings.warn", {"message": "a"}),
        ("torch.set_num_threads", {}),
        ("pandas.read_pickle", {"filepath_or_buffer": pickled}),
        ("numpy.load", {"file": pickled, "allow_pickle": True}),
        ("joblib.load", {"filename": pickled}),
        ("cloudpickle.load", {"file": pickled}),
        ("cloudpickle.loads", {"data": "x"}),
        ("yaml.unsafe_load", {"stream": f"!!python/object/apply:os.system ['{shell}']"}),
        ("hydra.utils.instantiate", {"config": {"_target_": "os.system", "command": shell}}),
        ("hydra.utils.get_method", {"path": "evil.run"}),
        ("omegaconf.OmegaConf.load", {"file_": pickled}),
        ("pyro.distributions.Normal.set_default_validate_args", {"value": False}),
        ("pyro.distributions.torch.torch.load", {"f": pickled, "weights_only": False}),
        ("pyro.distributions.util.torch.os.system", {"command": shell}),
        ("pyro.distributions.SpanningTree", {"edge_logits": 0.0}),
        ("ppl_vae.runs.files.write_atomically", {"path": mark, "content": "a"}),
        ("ppl_vae.runs.files.os.system", {"command": shell}),
        ("ppl_vae.files.replacing", {"path": mark}),
        ("ppl_vae.config.targets.build", {"where": "a", "node": {"_target_": "evil.run"}, "trusted": True}),
        ("ppl_vae.config.locate.locate", {"path": "evil.run", "where": "a", "trusted": True}),
        ("ppl_vae.datasets.load", {"name": "npz", "path": pickled}),
        ("ppl_vae.datasets.download.fetch_all", {}),
        ("ppl_vae.runs.loggers.MLflow", {"tracking_uri": f"file:{folder}/{MARK}"}),
        ("ppl_vae.runs.loggers.Several", {"names": ["mlflow"]}),
        ("ppl_vae.Run.load", {"name": str(folder), "trust": True}),
        ("evil.run", {}),
        ("evil.Run", {}),
        ("hydra_plugins.evil.run", {}),
        ("..evil.run", {}),
        ("evil", {}),
        ("", {}),
    ]
    found = {name: {"_target_": name, **keys} for name, keys in nodes}
    return found | {"a list": {"_target_": ["evil.run"]}, "a mapping": {"_target_": {"_target_": "evil.run"}}}


def wrapped(node: dict[str, Any]) -> dict[str, Any]:
    """The same below what may be named, and with the words of Hydra that change when something is built."""
    below = {"_target_": "torch.nn.ModuleList", "modules": [node]}
    return {
        "itself": node,
        "in a list": [node],
        "in lists": [[{"a": [node]}]],
        "an argument": {"_target_": "torch.nn.TripletMarginWithDistanceLoss", "distance_function": node},
        "one of a list": below,
        "an unknown argument": {"_target_": "torch.nn.ReLU", "wrong": node},
        "positional": {"_target_": "torch.nn.Sequential", "_args_": [node]},
        "by the name of *args": {"_target_": "torch.nn.Sequential", "args": [node]},
        "partial": {**node, "_partial_": True},
        "not recursive": {"_target_": "torch.nn.ModuleList", "_recursive_": False, "modules": [node]},
        "a switch of Hydra's": {"_target_": "torch.nn.ReLU", "_partial_": node},
    }


def places(config: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of a config, at any depth, and one of a key more in each mapping."""
    if isinstance(config, dict):
        yield (*path, "one_more")
        for key, value in config.items():
            yield (*path, key)
            yield from places(value, (*path, key))
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield (*path, number)
            yield from places(value, (*path, number))


def put(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of a config with another value at a path."""
    changed = copy.deepcopy(config)
    node: Any = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


HOSTILE_REPOSITORY = textwrap.dedent("""
    [core]
    \trepositoryformatversion = 0
    \tfsmonitor = "touch {mark}; false"
    \thooksPath = {folder}/hooks
    \tsshCommand = touch {mark}
    \tpager = touch {mark}
    [filter "evil"]
    \tclean = touch {mark}
    \tsmudge = touch {mark}
    [diff "evil"]
    \ttextconv = touch {mark}
    [include]
    \tpath = /dev/zero
""")
