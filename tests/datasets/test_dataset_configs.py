"""conf/dataset: one file per source, which names what has no default; the rest is the function's."""

import inspect

import pytest
import yaml

from ppl_vae.config.signature import additions
from ppl_vae.config.targets import parameters
from ppl_vae.datasets.load import SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_names_every_argument(source, repository):
    config = yaml.safe_load((repository / "conf" / "dataset" / f"{source.__name__}.yaml").read_text())
    config |= additions(config)
    assert config.pop("_target_") == f"ppl_vae.datasets.{source.__name__}"
    defaults = {
        name: "???" if p.default is inspect.Parameter.empty else p.default for name, p in parameters(source).items()
    }
    assert config == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


def test_every_file_is_a_source(repository):
    names = {path.stem for path in (repository / "conf" / "dataset").glob("*.yaml")}
    assert names == {source.__name__ for source in SOURCES}
