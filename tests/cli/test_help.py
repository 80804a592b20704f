"""What `--help` says: every key of the composed config, its value, and the words of where it is declared."""

import re

import pytest
from omegaconf import OmegaConf

from ppl_vae.config.schema import verbs
from ppl_vae.config.signature import parameters
from ppl_vae.config.verbs import DOORS

LINES = [["train"], ["train", "model=conv", "guide=conv"], ["train", "objective=beta_vae"], ["evaluate"]]


def keys_of(said):
    """The keys as YAML: a key of the help is one of a config."""
    lines = said.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Keys"))
    end = next(i for i, line in enumerate(lines) if line.startswith("Flags"))
    return lines[start + 1 : end]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_the_keys_are_the_config(cli, words):
    told, config = cli(*words, "--help"), cli(*words, "--cfg", "job")
    assert (told.code, config.code) == (0, 0)
    assert OmegaConf.create("\n".join(keys_of(told.out))) == OmegaConf.create(config.out)


@pytest.mark.parametrize("verb", verbs())
def test_every_key_of_a_verb_has_words(cli, verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert silent(cli(verb, "--help").out) == []


def silent(said):
    """The keys of which nothing is said."""
    return [line for line in keys_of(said) if line and "# " not in line and "_target_" not in line]


def test_every_key_of_every_option_has_words(cli, monkeypatch):
    """Of all groups of `train` at once: the first option of each, then the second, …"""
    monkeypatch.setenv("COLUMNS", "400")
    listed = re.findall(r"^(\w+): (.+)$", cli("train", "--help").out.partition("Keys (")[0], re.MULTILINE)
    groups = {name: options.split(", ") for name, options in listed if name not in ("experiment", "hparams_search")}
    assert len(groups) > 12
    for turn in range(max(map(len, groups.values()))):
        chosen = [f"{name}={options[turn % len(options)]}" for name, options in groups.items()]
        told = cli("train", *chosen, "--help")
        assert (told.code, silent(told.out)) == (0, []), chosen


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_words_stay_inside_the_terminal(cli, verb, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    said = cli(verb, "--help").out
    assert [line for line in keys_of(said) if len(line) > width and "${" not in line] == []


def test_the_help_of_an_option_is_that_of_its_signature(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = cli("train", "model=gmvae", "--help").out
    assert re.search(r"^model: +# gmvae: A mixture of normals in latent space", said, re.MULTILINE)
    words = parameters("ppl_vae.models.GMVAE")["components"].words.rstrip(".")
    assert re.search(rf"^  components: 10 +# {re.escape(words)}$", said, re.MULTILINE)


def test_doors_take_the_keys():
    for schema, function in DOORS.items():
        assert set(schema.__dataclass_fields__) <= set(parameters(function))
