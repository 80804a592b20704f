"""A value of the wrong kind, for every key of every verb: one line, in words of the command line."""

import re

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ppl_vae.config.refusals import type_error
from ppl_vae.config.verbs import SCHEMAS

VALUES = ["a", [1, 2], {"a": 1}, 1.5, None, True, -1, "", "nan", "a\nb", "it's", 10**20, [["a"]]]

JARGON = re.compile(
    r"<|>|Config\b|[Oo]mega|\btype\b|Node|None|Optional|\b(int|str|bool|float|dict|Dict|Integer|Float)\b|subclass|Error"
    r"|\bvalid\b|\benum|assign|merge|object|cast"
)


def leaves(schema, prefix=""):
    for name in schema:
        node = None if OmegaConf.is_missing(schema, name) else schema[name]
        if OmegaConf.is_dict(node) and len(node):
            yield from leaves(node, f"{prefix}{name}.")
        yield prefix + name


@pytest.mark.parametrize("verb", SCHEMAS)
def test_every_refusal_is_one_line_without_jargon(verb):
    refused = 0
    for key in leaves(OmegaConf.structured(SCHEMAS[verb])):
        for value in VALUES:
            tree = value
            for part in reversed(key.split(".")):
                tree = {part: tree}
            try:
                OmegaConf.merge(OmegaConf.structured(SCHEMAS[verb]), tree)
            except OmegaConfBaseException as error:
                if "not in" in str(error):
                    continue  # an unknown key is told of elsewhere, with the near ones
                refused += 1
                told = type_error(error)
                words = told.replace(repr(value), "").replace(repr(str(value)), "")
                assert "expected" in told
                assert len(told.splitlines()) == 1, told
                assert not JARGON.search(words), told
    assert refused > 10


@pytest.mark.parametrize(
    ("verb", "key", "value", "told"),
    [
        ("train", "seed", "a", "seed: got 'a', expected an integer"),
        ("train", "seed", None, "seed: got null, expected an integer"),
        ("evaluate", "gaps", "maybe", "gaps: got 'maybe', expected true or false"),
        ("evaluate", "split", "tset", "split: got 'tset', expected one of train, validation, test"),
        ("evaluate", "split", [1], "split: got '[1]', expected one of train, validation, test"),
        ("evaluate", "scores", "probe", "scores: got one value, expected a list: [A,B]"),
        ("generate", "given", 3, "given: got one value, expected keys and values: {KEY:VALUE}"),
        ("train", "trainer", 5, "trainer: got '5', expected keys of it: trainer.KEY=VALUE"),
        ("encode", "dataset", "x.csv", "dataset: got 'x.csv', expected keys of it: dataset.KEY=VALUE"),
    ],
)
def test_words(verb, key, value, told):
    with pytest.raises(OmegaConfBaseException) as caught:
        OmegaConf.merge(OmegaConf.structured(SCHEMAS[verb]), {key: value})
    assert type_error(caught.value) == told
