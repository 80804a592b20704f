"""The user's line is found among those of libraries and of this package."""

import functools
import inspect
import sys
from pathlib import Path

import pytest
import torch

from ppl_vae.datasets.spec import Spec
from ppl_vae.frames import calling_line, is_library, place_of, user_frame
from ppl_vae.nn import ConvEncoder


def program(x):
    return torch.nn.functional.linear(x, torch.zeros(3, 7))  # takes 7 numbers


def caught(run):
    try:
        run()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_in_a_library_is_at_the_line_that_called_it():
    error = caught(functools.partial(program, torch.zeros(1, 2)))
    frame = user_frame(error)
    assert frame is not None
    assert (Path(frame.filename), frame.name) == (Path(__file__), "program")
    assert place_of(error).startswith(f"{Path(__file__).name}:{frame.lineno}, `return torch.nn.functional.linear(")


def test_a_family_of_ours_counts_where_it_is_asked_for():
    encoder = ConvEncoder(Spec(shape=(1, 8, 8), support="binary"))
    error = caught(lambda: encoder(torch.zeros(3, 1, 2, 7)))
    assert place_of(error).startswith("conv.py:")
    assert place_of(error, ours=()).startswith(f"{Path(__file__).name}:")


def test_a_file_that_cannot_be_read_is_the_place(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def f(:\n")
    frame = user_frame(caught(lambda: compile(path.read_text(), str(path), "exec")))
    assert frame is not None
    assert (frame.filename, frame.lineno) == (str(path), 1)


@pytest.mark.parametrize(
    ("filename", "module", "is_users"),
    [
        ("/tmp/ipykernel_1/2.py", "__main__", True),
        ("<cell 2>", None, True),
        ("pytest/compiled.pyx", "pytest", False),
        ("<string>", "__main__", False),
        ("<eval_with_key>.0", None, False),
    ],
)
def test_code_without_a_file_is_told_by_its_module(filename, module, is_users):
    names = {} if module is None else {"__name__": module}
    exec(compile("def cell():\n    raise ValueError\n", filename, "exec"), names)
    frame = user_frame(caught(names["cell"]))
    assert frame is not None
    assert (frame.name == "cell") == is_users


def test_an_error_that_touches_no_code_of_a_user_has_no_place():
    assert user_frame(ValueError()) is None
    assert place_of(ValueError()) == ""


def test_the_line_of_a_call():
    here = inspect.currentframe()
    assert calling_line(here) == f"{Path(__file__).name}:{here.f_lineno}"
    assert calling_line(None) is None


def test_libraries_are_told_by_name():
    assert all(map(is_library, ("torch.nn", "pyro", "functools", "builtins", "ppl_vae.core.run")))
    assert not any(map(is_library, ("__main__", "my_models", __name__)))
    assert "contextlib" in sys.stdlib_module_names
