"""The schema, where configs lie, and that every config there is can be built and trained."""

import inspect
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ppl_vae.config import keys, verbs
from ppl_vae.config import schema as config
from ppl_vae.errors import PplVaeError, UsageError

CONF = config.conf_dir()
NETWORK_GROUPS = ("model", "guide", "likelihood", "objective", "estimator", "optimizer", "scheduler", "dataset")
OPTIONS = [(g, p.stem) for g in NETWORK_GROUPS for p in sorted((CONF / g).glob("*.yaml"))]


def load(group, option):
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml")) or {}


def nodes(node):
    return [node] if "_target_" in node else [v for v in node.values() if isinstance(v, dict)]


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=[f"{g}-{o}" for g, o in OPTIONS])
def test_every_option_fits_the_signature_of_its_target(group, option):
    from ppl_vae.cli.assemble import GIVEN
    from ppl_vae.config.targets import check

    for node in nodes(load(group, option)):
        open_ = [k for k, v in node.items() if v == "???" or "${" in str(v)]  # for the user, or from elsewhere
        check(group, {k: v for k, v in node.items() if k not in open_}, given=(*GIVEN.get(group, ()), *open_))


@pytest.mark.parametrize("option", sorted(p.stem for p in (CONF / "trainer").glob("*.yaml")))
def test_every_trainer_option_fits_the_schema(option):
    merged = OmegaConf.merge(OmegaConf.structured(keys.Trainer), load("trainer", option))
    assert merged.epochs >= 1


def test_the_trainer_is_what_fit_takes():
    from ppl_vae.training import fit

    ours = set(config.describe(keys.Trainer))
    given = {
        "vae",
        "data",
        "objective",
        "optimizer",
        "scheduler",
        "seed",
        "directory",
        "resume",
        "progress",
        "callbacks",
    }
    assert ours <= set(inspect.signature(fit).parameters) - given


@pytest.mark.parametrize("verb", config.verbs())
def test_every_verb_has_a_config_with_its_own_schema(verb):
    primary = OmegaConf.load(CONF / f"{verb}.yaml")
    assert primary.defaults[0] == f"{verb}_schema"
    assert set(primary) - {"defaults", "hydra"} <= set(config.describe(verbs.SCHEMAS[verb]))
    assert (CONF / f"{verb}.yaml").read_text().startswith("# ")


def test_verbs_have_code():
    assert set(config.verbs()) >= {"train", "evaluate", "posterior", "generate", "report", "compare"}


def test_conf_is_inside_an_installed_package_else_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "ppl_vae"
    package.mkdir()
    monkeypatch.setattr(config, "__file__", str(package / "config" / "schema.py"))
    assert config.conf_dir() == tmp_path / "conf"
    (package / "conf").mkdir()
    assert config.conf_dir() == package / "conf"


def test_a_config_says_what_it_is():
    assert config.about(CONF / "dataset" / "mnist.yaml").startswith("MNIST: 60,000 + 10,000 handwritten digits")
    assert config.about(CONF / "estimator" / "auto.yaml").endswith(
        "estimator.z._target_=ppl_vae.estimators.ScoreFunction"
    )
    assert config.about(CONF / "experiment" / "fashion_mnist.yaml").startswith("The 60,000 real images")


def test_near_names():
    assert config.near("tranier", ["trainer", "model"]) == "did you mean trainer? expected one of: model, trainer"
    assert config.near("Lr", ["lr"]).startswith("did you mean lr?")
    assert config.near("zzz", ["a"]) == "expected one of: a"


WRONG = {
    "unknown": ({"sed": 1}, UsageError, "did you mean seed?"),
    "nested": ({"trainer": {"epoch": 1}}, UsageError, "did you mean epochs?"),
    "type": ({"seed": "a"}, UsageError, "seed"),
    "choice": ({"format": "xml"}, UsageError, "json"),
    "missing": ({}, UsageError, "has no default"),
    "range": ({"results": {"draws": 0}}, PplVaeError, "results.draws"),
}
WHOLE = {"name": "a", "dataset": {}, "model": {}, "guide": {}, "objective": {}, "optimizer": {}}


@pytest.mark.parametrize(("keys", "error", "says"), WRONG.values(), ids=WRONG)
def test_configs_are_held_to_the_schema(keys, error, says):
    with pytest.raises(error, match=says.replace("?", r"\?")):
        config.validated("train", OmegaConf.create({**(WHOLE if keys else {}), **keys}))


def test_a_whole_config_passes():
    assert config.validated("train", OmegaConf.create(WHOLE)).trainer.keep == "best"


def test_no_config_names_what_no_file_has():
    """Options named in defaults lists exist."""
    for path in CONF.rglob("*.yaml"):
        loaded = OmegaConf.load(path)
        if not isinstance(loaded, type(OmegaConf.create({}))) or "defaults" not in loaded:
            continue
        for entry in loaded.defaults:
            if isinstance(entry, str):
                continue
            for key, option in entry.items():
                words = str(key).split()
                group = words[-1].lstrip("/")
                if option is not None:
                    assert (CONF / group / f"{option}.yaml").exists(), f"{path.name}: {group}={option}"


def test_paths_are_where_the_package_looks():
    assert Path(CONF / "train.yaml").is_file()


@pytest.mark.parametrize("word", ["results.posterior=200", "results.figures=0,2.5", "++trust=-1"])
def test_numbers_are_no_booleans(word):
    with pytest.raises(UsageError, match="expected true or false"):
        config.refuse_numbers("train", [word])


def test_zero_and_one_are():
    config.refuse_numbers("train", ["results.posterior=1", "results.figures=0", "seed=200", "results.draws=200"])
