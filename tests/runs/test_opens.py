"""A finished run opens: the pair of a stranger, in another process, from another directory, after a move."""

import functools
import shutil
import subprocess
import sys
import textwrap

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import ArgumentError, CheckError, RunError
from ppl_vae.runs import reference
from ppl_vae.runs.run import Run
from tests.runs import pairs
from tests.training.pairs import identical, weights

PAIRS = {"sequences": pairs.sequences, "functions": pairs.functions, "per datum": pairs.per_datum}


def trained(make, directory, **options):
    vae, batch = make()
    options = {"epochs": 2, "batch_size": 20, "progress": False, "compile": "off", "directory": directory} | options
    history = pv.fit(vae, options.pop("data", batch), **options)
    return vae, batch, history


@pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)
def test_a_run_of_fit_opens_with_the_pair_made_again(make, tmp_path):
    vae, batch, history = trained(make, tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    run = Run.load(tmp_path / "moved", vae=make()[0])
    assert (run.status, run.result) == ("finished", history.result)
    assert run.record["verb"] == "fit"
    assert len(run.metrics) == 2
    assert identical(weights(run.vae), weights(vae))
    assert not run.vae.training
    vae.eval()
    torch.manual_seed(0)
    expected = pv.terms(vae, batch).elbo
    torch.manual_seed(0)
    assert torch.equal(pv.terms(run.vae, batch).elbo, expected)
    assert len(pv.generate(run.vae, 3, like=batch)) == 3


def test_what_a_loaded_pair_generates_has_the_shapes_of_the_data_it_saw(tmp_path):
    trained(pairs.functions, tmp_path / "run")
    run = Run.load(tmp_path / "run", vae=pairs.functions()[0])
    (x,) = run.vae.reference_batch
    assert torch.equal(x, pairs.functions()[1][0][:2])  # real data, and no more than two
    assert pv.generate(run.vae, 64).shape == (64, 3)


@pytest.mark.parametrize("ran", [False, True])
def test_two_data_are_kept_and_all_only_where_parameters_are_one_per_datum(ran, tmp_path):
    """A width that is that of a batch by chance is none."""
    for make, kept in ((pairs.functions, 2), (lambda: pairs.sequences(8), 2), (pairs.per_datum, 20)):
        vae, batch = make()
        if ran:
            pv.prepare(vae, batch)
        pv.fit(vae, batch, epochs=1, batch_size=len(batch[0]), progress=False, compile="off", directory=tmp_path / "a")
        assert len(Run.load(tmp_path / "a").reference[0]) == kept
        shutil.rmtree(tmp_path / "a")


def test_lengths_are_asked_for_and_nowhere_made_up(tmp_path):
    trained(pairs.sequences, tmp_path / "run")
    vae = Run.load(tmp_path / "run", vae=pairs.sequences()[0]).vae
    with pytest.raises(ArgumentError, match="takes lengths beside"):
        pv.generate(vae, 4)
    assert pv.generate(vae, 4, given={"lengths": [2, 3, 4, 5]}).shape == (4, 5, 3)


def test_another_process_opens_it(tmp_path, repository):
    vae, _, _ = trained(pairs.functions, tmp_path / "run")
    script = f"""
        import sys
        sys.path.insert(0, {str(repository)!r})
        import ppl_vae as pv
        from tests.runs.pairs import functions
        run = pv.Run.load({str(tmp_path / "run")!r}, vae=functions()[0])
        print(*(float(p.detach().sum()) for _, p in sorted(run.vae.named_parameters())))
        print(pv.generate(run.vae, 2).shape[1])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    expected = [float(p.detach().sum()) for _, p in sorted(vae.named_parameters())]
    assert [float(word) for word in done.stdout.split()] == [*expected, 3.0], done.stderr


def test_a_pair_that_is_not_that_of_the_run_is_refused(tmp_path):
    trained(pairs.functions, tmp_path / "run")
    with pytest.raises(RunError, match=r"does not run on the data of .* made again by the same code"):
        _ = Run.load(tmp_path / "run", vae=pairs.sequences()[0]).vae


def test_without_a_config_the_pair_is_asked_for(tmp_path):
    trained(pairs.functions, tmp_path / "run")
    run = Run.load(tmp_path / "run")
    for what in ("vae", "config", "data"):
        with pytest.raises(RunError, match=r"Run\.load\(directory, vae="):
            getattr(run, what)


def test_what_names_no_run_or_is_no_pair_is_refused(tmp_path):
    trained(pairs.functions, tmp_path / "run")
    with pytest.raises(ArgumentError, match="Got 3 as a run"):
        Run.load(3)
    with pytest.raises(ArgumentError, match="vae=a Sequences, expected a pair"):
        Run.load(tmp_path / "run", vae=pairs.Sequences())


def test_a_run_without_its_first_data_opens_and_says_what_it_needs(tmp_path):
    """As those of earlier versions do; where they had been written, it is said aloud that they are gone."""
    vae, batch, _ = trained(pairs.functions, tmp_path / "run")
    (tmp_path / "run" / "reference.safetensors").unlink()
    with pytest.warns(UserWarning, match="reference.safetensors is not there any more"):
        assert Run.load(tmp_path / "run", vae=pairs.functions()[0]).reference is None
    (tmp_path / "run" / "manifest.json").unlink()
    run = Run.load(tmp_path / "run", vae=pairs.functions()[0])
    assert run.reference is None
    with pytest.raises(CheckError, match="like="):
        pv.generate(run.vae, 2)
    assert pv.generate(run.vae, 2, like=batch).shape == (2, 3)
    assert identical(weights(run.vae), weights(vae))


def test_a_pair_that_ran_already_takes_the_weights_as_it_is(tmp_path):
    trained(pairs.functions, tmp_path / "run")
    vae, _ = pairs.functions()
    pv.prepare(vae, (torch.ones(5, 3),))
    run = Run.load(tmp_path / "run", vae=vae)
    assert run.vae is vae
    assert torch.equal(vae.reference_batch[0], torch.ones(2, 3))


class Odd(pv.datasets.Split):
    """A user's own split, whose batches hold more than tensors."""

    extra = (None, 0.5, "text", {"a": torch.ones(4), "b": [1, (2.5, True)]})

    def batches(self, size, *, shuffle=False, generator=None):
        yield from ((*self.tensors, *self.extra) for _ in range(2))


def odd():
    def model(x, *others):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, *others):
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x, scale))

    return pv.VAE(model, guide)


def test_batches_hold_more_than_tensors(tmp_path):
    data = Odd((torch.randn(4),))
    pv.fit(odd(), data, epochs=1, batch_size=4, progress=False, compile="off", directory=tmp_path / "run")
    run = Run.load(tmp_path / "run", vae=odd())
    x, none, number, text, table = run.vae.reference_batch
    assert torch.equal(x, data.tensors[0][:2])
    assert (none, number, text) == (None, 0.5, "text")
    assert torch.equal(table["a"], torch.ones(2))
    assert table["b"] == [1, (2.5, True)]


def test_what_cannot_be_kept_is_told_and_hinders_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Odd, "extra", (functools.partial(print),))
    data = Odd((torch.randn(4),))
    options = {"epochs": 1, "batch_size": 4, "progress": False, "compile": "off", "directory": tmp_path / "run"}
    with pytest.warns(UserWarning, match=r"cannot be kept .*functools\.partial"):
        pv.fit(odd(), data, **options)
    assert reference.load(tmp_path / "run")[0] is None
    run = Run.load(tmp_path / "run", vae=odd())
    assert pv.generate(run.vae, 3, like=torch.randn(4)).shape == (3,)


def test_a_damaged_file_is_named(tmp_path):
    trained(pairs.functions, tmp_path / "run")
    (tmp_path / "run" / "reference.safetensors").write_bytes(b"?")
    with pytest.raises(RunError, match=r"reference\.safetensors"):
        _ = Run.load(tmp_path / "run", vae=pairs.functions()[0]).vae
