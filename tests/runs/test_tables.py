"""Tables as CSV: no formula in any cell, and what is read back is what was written."""

import ast
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ppl_vae
from ppl_vae.errors import RunError
from ppl_vae.runs.tables import guard, read_csv, rows_to_csv, to_csv, unguard

TEXTS = (
    "=1+1",
    "+x",
    "-y",
    "@z",
    "\tq",
    "\rq",
    "\nq",
    "＝1",
    "'=1",
    "''@",
    "it's",
    "'",
    "",
    "plain",
    "a=b",
    "日本",
    '"=1"',
    "a,b",
)


def test_each_text_comes_back_as_it_was():
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choice("='+-@\t\rab1 ＝") for _ in range(rng.randrange(6)))
        assert unguard(guard(text)) == text
        if guard(text) == text and text.lstrip("'")[:1] in tuple("=+-@\t\r＝"):
            float(text or "0")  # only numbers stay


@pytest.mark.parametrize("number", [-1.5, "-1.5", "+3", "-inf", 0, np.float64(-2), None, True])
def test_numbers_stay(number):
    assert guard(number) is number


def test_a_table_is_read_back(tmp_path):
    columns = {"=a": TEXTS, "b": np.linspace(-1, 1, len(TEXTS)), "-c": range(len(TEXTS))}
    frame = pd.DataFrame(columns, index=pd.Index([f"@{i}" for i in range(len(TEXTS))], name="+unit"))
    path = tmp_path / "t.csv"
    path.write_text(to_csv(frame), newline="")
    cells = pd.read_csv(path, dtype=str, keep_default_na=False, header=None).to_numpy().ravel()
    assert not [
        c for c in cells if c.startswith(("=", "+", "@", "\t", "\r")) or (c[:1] == "-" and not c[1:2].isdigit())
    ]
    found = read_csv(path)
    assert found["-c"].tolist() == list(range(len(TEXTS)))
    assert found["b"].tolist() == frame["b"].tolist()
    assert list(found.index) == list(frame.index)
    assert found.index.name == "+unit"
    assert [v for v in found["=a"] if isinstance(v, str)] == [t for t in TEXTS if t]  # an empty text is a gap, in CSV


def test_plain_tables_are_written_as_ever():
    frame = pd.DataFrame({"a": [0.1, np.nan], "b": ["x", None]}, index=pd.MultiIndex.from_tuples([(1, "u"), (2, "v")]))
    assert to_csv(frame) == frame.to_csv()
    assert to_csv(frame, index=False) == frame.to_csv(index=False)


def test_rows():
    assert rows_to_csv([{"epoch": 1, "=x": None}, {"epoch": 2, "y": "@"}]) == "epoch,'=x,y\n1,,\n2,,'@\n"


def test_no_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1\n1,2,3,4\n")
    with pytest.raises(RunError, match=r"t\.csv cannot be read"):
        read_csv(tmp_path / "t.csv")


def test_every_csv_is_written_here():
    """No other module turns a frame, or rows, into CSV."""
    package = Path(ppl_vae.__file__).parent
    writers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if called and (node.func.attr == "to_csv" or ast.unparse(node.func).startswith(("csv.writer", "csv.Dict"))):
                writers.add(path.relative_to(package).as_posix())
    assert writers == {"runs/tables.py"}
