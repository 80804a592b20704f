"""Pictures within what a page may weigh."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ppl_vae.plots.style import new_figure
from ppl_vae.reports.embedded import embedded


def noise(size=300):
    buffer = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def png(part):
    return base64.b64decode(part["data"])


def test_what_is_small_enough_stays_as_it_is():
    picture = noise(40)
    assert png(embedded({"a": picture})["a"]) == picture
    figure = new_figure(3, 2)
    assert embedded({"f": figure})["f"]["width"] == 300


@pytest.mark.parametrize("most", [500_000, 200_000, 30_000])
def test_what_is_too_much_is_made_smaller(most):
    given = {"a": noise(400), "b": noise(300), "c": noise(20)}
    found = embedded(given, most)
    assert sum(len(png(part)) for part in found.values()) <= most
    assert png(found["c"]) == given["c"]
    assert {name: part["width"] for name, part in found.items()}["a"] == 250  # shown as large as before
    Image.open(BytesIO(png(found["a"]))).load()


def test_a_file_that_is_no_picture_is_left_out_where_there_is_no_room():
    found = embedded({"a": b"no picture" * 1_000, "b": noise(20)}, most=5_000)
    assert list(found) == ["b"]
