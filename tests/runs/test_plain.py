"""YAML as data: what configs hold comes back as OmegaConf wrote it, and all else is refused in words."""

import random

import pytest
from omegaconf import OmegaConf

from ppl_vae.errors import RunError
from ppl_vae.runs.plain import parse

TEXTS = ["a", "", " ", "1", "1e-3", "-1.5", "1_000", "0x1f", "1:30", "2026-11-22", "yes", "No", "~", "null", ".nan"]
TEXTS += ["=", "<<", "#x", "a: b", "- a", "'", '"', "é", "\t", "a\nb", "\x07", "x" * 300, "*a", "&a", "!a", "%a", "@a"]
TEXTS += ["[a]", "{a}", "???"]
VALUES = [None, True, False, 0, -3, 2**40, 0.0, 1e-8, -2.5e30, 0.1, float("inf"), *TEXTS]


def random_value(draw, depth=3):
    kind = draw.randrange(3) if depth else 0
    if kind == 1:
        return [random_value(draw, depth - 1) for _ in range(draw.randrange(4))]
    if kind == 2:
        return {
            draw.choice(["key", "2", "a b", *TEXTS]): random_value(draw, depth - 1) for _ in range(draw.randrange(4))
        }
    return draw.choice(VALUES)


def test_what_is_written_is_read(tmp_path):
    """500 random trees, to the type and the bit."""
    draw = random.Random(0)
    for _ in range(500):
        value = {"a": random_value(draw)}
        text = OmegaConf.to_yaml(OmegaConf.create(value))
        assert repr(parse(text.encode(), tmp_path)) == repr(value)


REFUSED = {
    "alias": "a: &x [1]\nb: *x",
    "anchor": "a: &x 1",
    "laughs": "a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a]\n" for i in range(9)),
    "binary": "a: !!binary aGk=",
    "set": "a: !!set {x}",
    "text by a tag": "a: !!str 1",
    "object": "a: !!python/object/apply:os.system [ls]",
    "own tag": "a: !mine 1",
    "deep lists": "a: " + "[" * 60 + "]" * 60,
    "very deep": "[" * 200_000,
    "deep mappings": "".join(f"{' ' * i}a:\n" for i in range(60)),
    "many": "a: [" + "1," * 500_000 + "]",
    "two documents": "a: 1\n---\nb: 2",
    "torn": "a: [1",
    "no text": b"\xff\xfe\x00",
    "null bytes": b"a: \x00",
    "digits": "a: " + "9" * 5_000,
    "large number": "a: 0x" + "f" * 40,
    "a key that is a list": "? [a]\n: 1",
    "a key that is nothing": "~: 1",
    "empty key of a mapping": "? {a: 1}\n: 2",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_no_config_holds_is_refused(tmp_path, text):
    with pytest.raises(RunError, match=r"config.yaml cannot be read \(.+\)") as caught:
        parse(text if isinstance(text, bytes) else text.encode(), tmp_path / "config.yaml")
    assert len(str(caught.value)) < 700


def test_dates_stay_texts_and_numbers_are_numbers(tmp_path):
    assert parse(b"a: 2026-11-22\nb: 1e-3\nc: 1.5E+3\nd: 12:30:45.5", tmp_path)["a"] == "2026-11-22"
    assert parse(b"b: 1e-3\nc: 1.5E+3", tmp_path) == {"b": 1e-3, "c": 1500.0}
