from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ppl_vae as pv
from ppl_vae.datasets.tables import select
from ppl_vae.errors import DataError

FILE = Path("t.csv")
TABLE = pd.DataFrame(
    {"age": [30, 40, 50], "height": [1.5, 1.75, 2.0], "smokes": [True, False, True], "town": list("abc")}
)


def test_selects_in_the_order_asked_for():
    x, y, names = select(TABLE, FILE, ["height", "age"], [], "town")
    np.testing.assert_array_equal(x, [[1.5, 30], [1.75, 40], [2.0, 50]])
    assert y["town"].tolist() == ["a", "b", "c"]
    assert names == ["height", "age"]


def test_all_but_the_label_and_the_excluded():
    x, _, names = select(TABLE, FILE, None, ["age"], "town")
    assert names == ["height", "smokes"]
    np.testing.assert_array_equal(x[:, 1], [1, 0, 1])


def test_nullable_types_without_missing_values():
    x, _, _ = select(TABLE[["age", "smokes"]].convert_dtypes(), FILE, None, [], None)
    np.testing.assert_array_equal(x, [[30, 1], [40, 0], [50, 1]])


def test_missing_values_stay():
    x, _, names = select(missing("height", 1).drop(columns="town"), FILE, None, [], None)
    assert np.isnan(x[:, names.index("height")]).tolist() == [False, True, False]


def missing(column, row):
    table = TABLE.astype(object)
    table.loc[row, column] = None
    return table.infer_objects()


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (TABLE, {}, r"Got 'a' in t.csv, row 1 \(line 2\), column 'town', expected numbers: use label=town"),
        (TABLE.assign(age=["1,5", "2", "3"]), {"label": "town"}, "'1,5' .a decimal comma"),
        (TABLE.assign(age=["1", "?", "3"]), {"label": "town"}, r"'\?' in t.csv, row 2 \(line 3\), column 'age'"),
        (missing("town", 2), {"label": "town"}, r"column 'town' of t.csv, the first in row 3"),
        (
            TABLE.assign(age=[1, np.inf, 3]),
            {"label": "town"},
            r"infinite value in t.csv, row 2 \(line 3\), column 'age'",
        ),
        (TABLE, {"columns": ["agee"]}, "columns with 'agee', .*perhaps 'age'"),
        (TABLE, {"label": "city"}, "label with 'city'"),
        (TABLE, {"exclude": ["x"]}, "exclude with 'x'"),
        (TABLE, {"columns": ["age"], "label": "age"}, "both in columns and as label"),
        (TABLE, {"exclude": list(TABLE)}, "no column"),
        (TABLE[:0], {"columns": ["age"]}, "without rows"),
        (TABLE.set_axis(["a", "a", "b", "c"], axis=1), {}, "several columns named 'a'"),
        (TABLE.assign(age=pd.Timestamp("2020-01-01")), {"label": "town"}, "column 'age', expected numbers"),
    ],
    ids=lambda v: v[:30] if isinstance(v, str) else "",
)
def test_refuses(table, options, message):
    options = {"columns": None, "exclude": [], "label": None, "first_line": 2, **options}
    with pytest.raises(DataError, match=message):
        select(table, FILE, **options)


@pytest.mark.parametrize(
    ("said", "support"),
    [
        ({}, "real"),
        ({"support": "counts"}, "counts"),
        ({"support": "integers", "levels": 10}, "unit"),  # grey levels, which are scaled
        ({"support": "real"}, "real"),
        ({"support": "counts", "standardization": "zscore"}, "real"),
        ({"standardization": "none"}, "counts"),
        ({"levels": 10, "binarization": "static", "support": "integers"}, "binary"),
    ],
    ids=str,
)
def test_what_is_said_to_be_no_reals_is_not_standardized_unasked(tmp_path, said, support):
    np.savetxt(
        tmp_path / "t.csv", np.random.default_rng(0).integers(10, size=(40, 3)), "%d", ",", header="a,b,c", comments=""
    )
    data = pv.datasets.csv(tmp_path / "t.csv", **said)
    assert data.spec.support == support
    assert (data.spec.location is None) == (support != "real")
