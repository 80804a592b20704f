"""The composition of a command line: errors of Hydra's own code are told of the word at fault."""

import pytest

from ppl_vae.cli import composition
from ppl_vae.config.signature import additions


def test_naming_the_word_at_fault_takes_time_in_proportion_to_the_line(cli, monkeypatch):
    """It was exponential: each word composed by itself doubled the layers that the next one was merged from."""
    merged = []
    monkeypatch.setattr(composition, "additions", lambda *a: merged.append(a) or additions(*a))
    fine = ["seed=1", "trainer.epochs=3", "model.latent_dim=4", "results.figures=false", "optimizer.lr=0.1", "name=a"]
    counts = []
    for words in (1, 6):
        merged.clear()
        called = cli("train", *fine[:words], "model._target_=mine.Model", "model.hidden.x=3")
        assert called.code == 2
        assert "model.hidden.x=3: this cannot be composed" in called.err
        counts.append(len(merged))
    assert counts[1] <= 3 * counts[0]  # nine compositions, and four


@pytest.mark.parametrize("key", ["job.env_set", "callbacks", "job_logging", "hydra_logging", "help"])
def test_a_text_in_the_place_of_hydras_keys_is_named(cli, key):
    """Found by mutated command lines: Hydra goes through what stands there, whatever it is."""
    called = cli("sweeps", f"hydra.{key}=${{hydra.run.dir}}")
    assert called.code == 2
    assert f"hydra.{key}: got ${{hydra.run.dir}}, which is" in called.err
    assert "expected keys" in called.err
