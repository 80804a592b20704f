"""What is read from sources: the same as from the imported targets, for every `_target_` of the configs and of ours."""

import importlib.util
import inspect
import sys
from textwrap import dedent

import pytest
from omegaconf import OmegaConf

import ppl_vae as pv
from ppl_vae.config import schema, signature
from ppl_vae.config.locate import locate
from ppl_vae.config.targets import parameters

CONF = schema.conf_dir()


def targets(node):
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
        for value in node.values():
            yield from targets(value)


NAMED = {t for p in CONF.rglob("*.yaml") for t in targets(OmegaConf.to_container(OmegaConf.load(p)))}
PUBLIC = {
    f"ppl_vae.{room}.{name}"
    for room in ("models", "guides", "likelihoods", "estimators", "objectives", "schedules")
    for name, kind in vars(getattr(pv, room)).items()
    if callable(kind) and name != "Bound" and kind.__module__.startswith(f"ppl_vae.{room}")
}
IMPORTED = sorted(t for t in NAMED | PUBLIC if t.startswith("ppl_vae."))


def plain(value):
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("target", IMPORTED)
def test_a_source_says_what_its_import_says(target):
    read, found = signature.parameters(target), parameters(locate(target, "x", trusted=True))
    found = {name: parameter for name, parameter in found.items() if parameter.kind is not parameter.VAR_POSITIONAL}
    assert list(read) == list(found)  # no key of a config gives arguments without a name
    of_config = (int, float, str, type(None), list)
    for name, parameter in found.items():
        default = plain(parameter.default)
        known = isinstance(default, of_config) and not callable(default)
        assert read[name].default == (default if known else signature.UNKNOWN), name
        assert type(read[name].default) is type(default) or not known, name


@pytest.mark.parametrize("target", sorted(t for t in NAMED if t.startswith("ppl_vae.")))
def test_every_key_of_the_configs_has_words_and_a_default(target):
    left_out = {name for name, p in signature.parameters(target).items() if p.default is signature.UNKNOWN}
    needed = {  # from the builder, or, where the default is a class, from Python alone
        name
        for name, p in parameters(locate(target, "x", trusted=True)).items()
        if p.default is inspect.Parameter.empty or isinstance(p.default, type)
    }
    assert left_out <= needed
    assert [k for k, p in signature.parameters(target).items() if not p.words] == []


def test_options_that_are_texts_are_known():
    read = signature.parameters("ppl_vae.models.VAE")
    assert read["activation"].choices == ("relu", "tanh", "elu", "silu", "gelu", "softplus", "glu")
    assert read["latent_dim"].choices == ()


@pytest.mark.parametrize("target", ["ppl_vae.nothing.X", "ppl_vae.models.Nothing", "ppl_vae", "mine.Model"])
def test_what_is_not_there_has_no_parameters(target):
    assert signature.parameters(target) == {}


def test_a_default_is_not_shared():
    signature.defaults("ppl_vae.models.VAE")["hidden"].append(1)
    assert signature.defaults("ppl_vae.models.VAE")["hidden"] == [256]


SOURCES = {
    "__init__": "from ppl_vae.sources import one, Two, three, Four as Fourth",
    "keys": """
        from typing import Literal, TypedDict

        Scale = Literal["unit", "none"]

        class Base(TypedDict, total=False):
            '''Common keys.

            Args:
                scale: how values are
                    scaled.
                seed: of the `splits`.
            '''

            scale: Scale
            seed: int

        BASE: Base = {"scale": "unit", "seed": 0}

        class MoreKeys(Base, total=False):
            '''More.

            Args:
                shape: of a datum.
            '''

            shape: list[int] | None

        MOREKEYS: MoreKeys = {**BASE, "shape": None}
    """,
    "sources": """
        import math
        from dataclasses import dataclass, field
        from typing import ClassVar, Unpack

        from ppl_vae.keys import Base, MoreKeys

        SIZE = 3
        SIZES = (SIZE, 2 * 2)

        def one(path: str, *, scale: str = "none", **how: Unpack[Base]):
            '''One.

            Args:
                path: the file.
            '''

        class Parent:
            '''A parent.

            Args:
                size: of it.
            '''

            def __init__(self, size: int = SIZE, end: float = math.inf, low: float = -1.0):
                pass

        class Two(Parent):
            '''Two.'''

            def __init__(self, size: int = 4, **how: "Unpack[MoreKeys]"):
                '''Two of it.

                Args:
                    size: of two.
                '''

        class three(Parent):
            '''Nothing of its own.'''

        @dataclass
        class Four:
            '''Four.

            Attributes:
                a, b: ends.
            '''

            known: ClassVar[int] = 1
            a: int
            b: float = 0.5
            c: list[int] = field(default_factory=list)
            d: str = field(default="x", repr=False)
    """,
}


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A package of the name of ours, to be read and to be imported."""
    for name, text in SOURCES.items():
        (tmp_path / f"{name}.py").write_text(dedent(text))
    monkeypatch.setattr(signature, "ROOT", tmp_path)
    signature.parameters.cache_clear()
    for name in ("keys", "sources"):
        spec = importlib.util.spec_from_file_location(f"ppl_vae.{name}", tmp_path / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, f"ppl_vae.{name}", module)
        spec.loader.exec_module(module)
    yield sys.modules["ppl_vae.sources"]
    signature.parameters.cache_clear()


READ = {
    "one": {"path": signature.UNKNOWN, "scale": "none", "seed": 0},
    "Two": {"size": 4, "scale": "unit", "seed": 0, "shape": None},
    "three": {"size": 3, "end": signature.UNKNOWN, "low": -1.0},
    "Four": {"a": signature.UNKNOWN, "b": 0.5, "c": [], "d": "x"},
}


@pytest.mark.parametrize("name", READ)
def test_sources(sources, name):
    read = signature.parameters(f"ppl_vae.sources.{name}")
    assert {k: p.default for k, p in read.items()} == READ[name]
    assert list(parameters(getattr(sources, name))) == list(read)
    for key, p in parameters(getattr(sources, name)).items():
        if read[key].default is not signature.UNKNOWN and key != "c":
            assert p.default == read[key].default


def test_words_and_choices_of_unpacked_keys(sources):
    one, two = signature.parameters("ppl_vae.one"), signature.parameters("ppl_vae.Two")
    assert [one[k].words for k in ("path", "scale", "seed")] == ["the file.", "", "of the splits."]
    assert two["scale"] == signature.Parameter("unit", ("unit", "none"), "how values are scaled.")
    assert (two["size"].words, two["shape"].words) == ("of two.", "of a datum.")
    assert signature.parameters("ppl_vae.three")["size"].words == "of it."
    assert signature.parameters("ppl_vae.Fourth")["a"].words == "ends."


def test_unpacked_keys_are_held_to_their_annotations(sources):
    from ppl_vae.config.targets import check
    from ppl_vae.errors import UsageError

    node = {"_target_": "ppl_vae.sources.Two", "scale": "unit"}
    assert check("dataset", node, trusted=True) == node
    for key, value, says in [("scal", "unit", "did you mean scale"), ("scale", "x", "unit"), ("seed", "a", "integer")]:
        with pytest.raises(UsageError, match=says):
            check("dataset", {"_target_": "ppl_vae.sources.Two", key: value}, trusted=True)
