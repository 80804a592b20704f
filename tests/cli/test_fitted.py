"""Tables on a narrow screen: numbers are whole at every width."""

import io
import re

import pytest
from rich.console import Console

from ppl_vae.cli.fitted import Column, Fitted, number

NUMBERS = ["-23.456", "1234.568", "0.00012"]
COLUMNS = [
    Column("job", ["0", "1", "2"]),
    Column("objective.beta", ["0.1", "1", "10"]),
    Column("validation/elbo ± se", [f"{n} ± 0.123" for n in NUMBERS]),
    *(Column(f"test/figure_{i}", NUMBERS, rank=i) for i in range(1, 12)),
]


def printed(width, columns=COLUMNS):
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(Fitted(columns, "comparison.csv"))
    return out.getvalue()


@pytest.mark.parametrize("width", [10_000, *range(40, 140)])
def test_numbers_are_whole_and_lines_fit(width):
    text = printed(width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text  # nothing is cut, of a title neither
    for value in NUMBERS:
        assert f"{value} ± 0.123" in text
    shown = text.count(NUMBERS[0]) - 1
    left = re.findall(r"test/figure_\d+", text.partition("no room for")[2].replace("\n", " "))
    assert shown + len(left) == 11  # what is not shown is named
    assert left == [f"test/figure_{i}" for i in range(12 - len(left), 12)]


def test_a_table_without_room_for_its_first_columns_is_turned():
    text = printed(24)
    assert text.count("validation/elbo ± se") == 3
    assert "-23.456 ± 0.123" in text.replace("\n", " ")
    assert "no room" not in text


def test_many_rows_are_cut_and_counted():
    text = printed(80, [Column("job", [str(i) for i in range(100)])])
    assert "… and 60 more (in comparison.csv)" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "-"), (2.0, "2"), (1e-5, "1e-05"), (-0.5, "-0.500"), ("x" * 40, "x" * 11 + "…" + "x" * 12)],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text
