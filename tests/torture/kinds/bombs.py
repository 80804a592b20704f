"""Files that take time, memory or the stack, or say what is not so: YAML, JSON, tensors, HDF5."""

import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.kinds.case import MARKUP, NUMBER, SECRET, Case, Kind, Make, Payload, edited, put
from tests.torture.kinds.code import torch_file


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
        "merged keys": lambda case, old: (
            old
            + "b0: &b0 {x: 1}\n"
            + "".join(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}'] * 20)}], y: 1}}\n" for n in range(1, 12))
        ),
        "two documents": lambda case, old: old + "---\na: 1\n",
        "no mapping": lambda case, old: "- 1\n- 2\n",
        "NUL bytes": lambda case, old: old + 'extra: "\0\0"\n',
        "interpolations in a circle": lambda case, old: old + "extra: ${other}\nother: ${extra}\n",
        "interpolations that double": lambda case, old: (
            old
            + "x0: aaaaaaaaaaaaaaaa\n"
            + "".join(f"x{n}: ${{x{n - 1}}}${{x{n - 1}}}\n" for n in range(1, 40))
            + "name: ${x39}\n"
        ),
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
        "a torch file": lambda case, old: Path(torch_file(case)).read_bytes(),
        "a length of 2^62": lambda case, old: struct.pack("<Q", 1 << 62) + old[8:],
        "a shape of 2^50": header(lambda found: first(found).update(shape=[1 << 50])),
        "a negative shape": header(lambda found: first(found).update(shape=[-1])),
        "tensors that overlap": header(
            lambda found: [v.update(data_offsets=[0, 4]) for k, v in found.items() if k != "__metadata__"] and None
        ),
        "another type": header(lambda found: first(found).update(dtype="F99")),
        "names of methods": header(lambda found: found.update({"__class__": first(found)})),
        "a state that is nested deep": header(state('{"state": ' + "[" * 100_000)),
        "a state of tensors that are not there": header(state('{"state": {"$tensor": "no"}}')),
        "a state with $dict in a circle": header(state('{"state": {"$dict": [[{"$tensor": "no"}, 1]]}}')),
        "a state with lists as keys": header(state('{"state": {"$dict": [[[1], 1]]}}')),
        "a state with $packed": header(state('{"state": {"$packed": [1, 2, 3, 4]}}')),
        "a state with a long float": header(state('{"state": {"$float": "' + "9" * 100_000 + '"}}')),
        "another version": header(state('{"version": 99, "state": {"version": 99}}')),
        "a header of 300,000 names": header(
            lambda found: found.update({f"n{n}": first(found) for n in range(100_000)})
        ),
    }
    for name in ("model.safetensors", "checkpoints/last.safetensors", "reference.safetensors"):
        for what, change in changes.items():
            yield Kind(f"tensors: {name}, {what}", f"{name} as {what}", written(name, change))

    def ones(name: str, value: Any) -> Make:
        return edited(name, value)

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
        array[:] = [Payload(case.shell)] * 40
        np.savez(case.run / "x.npz", train=array, validation=array, test=array)
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npz", "path": str(case.run / "x.npz")}))

    yield Kind("data: an npz of pickles", "data that are pickles", pickled_data)

    def zipped(case: Case) -> None:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2147483648, 1), }".ljust(117) + b"\n"
        with (
            zipfile.ZipFile(case.run / "x.npz", "w", zipfile.ZIP_DEFLATED) as file,
            file.open("x.npy", "w", force_zip64=True) as inner,
        ):
            inner.write(b"\x93NUMPY\x01\x00v\x00" + header)
            for _ in range(512):
                inner.write(bytes(1 << 20))
        case.config(lambda c: put(c, "dataset", {"_target_": "ppl_vae.datasets.npz", "path": str(case.run / "x.npz")}))

    yield Kind("data: a zip bomb", "an npz that is small, and says that it holds 2 GB", zipped)

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
        shape, dims = old.shape, list(old.attrs.items())
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
