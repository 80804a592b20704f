"""Every example in a docstring of ppl_vae prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import ppl_vae

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ppl_vae.__path__, "ppl_vae.", onerror=lambda name: None)
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """Each module alone, so that a failure names it and workers share the load."""
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testmod(module, optionflags=flags)
    assert not failed, f"{failed} of {tried} examples in {name} failed; their output is above"
