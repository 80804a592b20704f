"""What fails behind a door is told as a refusal; what a user's own code raises is not."""

import inspect
import types

import numpy as np
import pytest
import torch

import ppl_vae
from ppl_vae.doors import RAW, checked
from ppl_vae.errors import ArgumentError, DataError


def of_ours(source: str) -> types.FunctionType:
    """A function whose lines count as this package's."""
    file = f"{inspect.getfile(ppl_vae).rpartition('/')[0]}/made_for_a_test.py"
    names = {"__name__": "ppl_vae.made_for_a_test"}
    exec(compile(source, file, "exec"), names)
    return names["f"]


def divided(by):
    return 1 / by  # a line of the user's


@pytest.mark.parametrize("error", [e for e in RAW if e is not MemoryError])
def test_what_fails_in_our_lines_is_a_refusal_with_its_cause(error):
    f = checked(of_ours(f"def f(x, *, y=2):\n    raise {error.__name__}('no')"))
    with pytest.raises(ArgumentError, match=r"Got x=\[1, 2\], y=3, with which f cannot go on") as told:
        f([1, 2], y=3)
    assert type(told.value.__cause__) is error


@pytest.mark.parametrize("error", [np.linalg.LinAlgError, np.exceptions.AxisError, torch.linalg.LinAlgError])
def test_errors_of_arithmetic_are_no_words_on_what_was_given(error):
    f = checked(of_ours("def f(x, error):\n    raise error"))
    made = error("no") if error is not np.exceptions.AxisError else error(3, 1)
    with pytest.raises(ArgumentError, match=r"Got x=1, error=.*, with which f cannot go on"):
        f(1, made)


def test_what_fails_in_a_users_line_passes_as_it_is():
    f = checked(of_ours("def f(x, by):\n    return x(by)"))
    with pytest.raises(ZeroDivisionError):
        f(divided, 0)
    with pytest.raises(ArgumentError, match="int"):
        f(int, "not a number")  # no line of the user's


@pytest.mark.parametrize("names", [{"__name__": "__main__"}, {"__name__": "my_models"}])
def test_a_program_without_a_file_is_a_users_too(names):
    """As in `python -c`, or a cell of a notebook."""
    exec(compile("def model(y):\n    raise ValueError('theirs')", "<string>", "exec"), names)
    with pytest.raises(ValueError, match=r"^theirs$"):
        checked(of_ours("def f(x, y):\n    return x(y)"))(names["model"], 1)


def test_a_program_of_an_installed_package_is_a_users_too(tmp_path, monkeypatch):
    """Installed or not, a package that we are not made with is somebody's own: what it raises is what they look for."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "their_models.py").write_text("def model(x):\n    raise ValueError('theirs')\n")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    import their_models

    with pytest.raises(ValueError, match=r"^theirs$") as told:
        checked(of_ours("def f(x, y):\n    return x(y)"))(their_models.model, 1)
    assert not isinstance(told.value, ArgumentError)


@pytest.mark.parametrize("error", ["MemoryError()", "RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')"])
def test_too_little_memory_is_no_fault(error):
    with pytest.raises(ArgumentError, match="takes more memory than there is") as told:
        checked(of_ours(f"def f(x):\n    raise {error}"))(3)
    assert "report" not in str(told.value)


@pytest.mark.parametrize("error", [DataError("ours"), KeyboardInterrupt(), OSError("a disk"), StopIteration()])
def test_what_says_what_it_is_passes(error):
    def raise_it():
        raise error

    f = of_ours("def f(x):\n    x()")
    with pytest.raises(type(error)):
        checked(f)(raise_it)


def test_the_outermost_door_tells():
    """What is caught on the way, to be told better or to try another way, is what was raised."""
    inner = checked(of_ours("def f(x):\n    raise RuntimeError('no')"))
    outer = of_ours("def f(inner):\n    try:\n        inner(1)\n    except RuntimeError:\n        return 'another way'")
    assert checked(outer)(inner) == "another way"
    through = checked(of_ours("def f(inner):\n    inner(1)"))
    with pytest.raises(ArgumentError, match="f cannot go on") as told:
        through(inner)
    assert type(told.value.__cause__) is RuntimeError
    with pytest.raises(ArgumentError, match="x=1"):  # it is outermost again
        inner(1)


def test_what_the_error_carries_is_kept():
    f = checked(of_ours("def f(x):\n    e = ValueError('no')\n    e.history = x\n    raise e"))
    with pytest.raises(ArgumentError) as told:
        f([3])
    assert told.value.history == [3]
