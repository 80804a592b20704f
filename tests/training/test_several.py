"""Training on data of which some have labels: by every way of taking steps, and gone on with to the same bits."""

from functools import partial
from pathlib import Path

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError
from tests.training import pairs

ADAM = partial(torch.optim.Adam, lr=1e-3)


def data(**options: object) -> pv.datasets.Dataset:
    return pv.datasets.load("digits", labelled=60, **options)


def pair(dataset: pv.datasets.Dataset, **options: object) -> pv.VAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pv.models.SemiSupervised(dataset.spec, latent_dim=2, hidden=(8,), **options)
        return pv.VAE(model, pv.guides.SemiSupervisedAmortized(dataset.spec, model, hidden=(8,)))


def trained(dataset: pv.datasets.Dataset, **options: object) -> tuple[pv.VAE, pv.History]:
    vae = pair(dataset)
    options = {"epochs": 2, "batch_size": 64, "seed": 3, "keep": "last", **options}
    return vae, pv.fit(vae, dataset, optimizer=ADAM, progress=False, **options)


def test_captured_steps_of_both_structures_are_the_programs() -> None:
    weights = [trained(data(), compile=way)[0].state_dict() for way in ("off", "export")]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


@pytest.mark.parametrize("step", [9, 21, 30])
def test_a_run_goes_on_to_the_same_bits(tmp_path: Path, step: int) -> None:
    """Steps of an epoch: 19 without labels and 1 with; the run is stopped in an epoch and between two."""
    dataset, objective = data(), pv.objectives.ELBO(beta=pairs.warm_up())
    whole = trained(data(), objective=objective)[0].state_dict()
    with pytest.raises(KeyboardInterrupt):
        trained(dataset, objective=pairs.interrupt_at(step), directory=tmp_path)
    vae, _ = trained(dataset, objective=objective, directory=tmp_path, resume=True)
    assert all(torch.equal(value, whole[name]) for name, value in vae.state_dict().items())


def test_the_step_of_a_batch_is_that_of_its_program() -> None:
    """A first step on labelled data alone has the classifier's term; one without labels has none."""
    dataset = data()
    vae = pair(dataset, alpha=100.0)
    bounds = {len(b): pv.objectives.ELBO()(vae, b, total=1258) for b in dataset.train.batches(64)}
    assert float(bounds[2].value) < float(bounds[1].value) - 100


def test_shares_and_stacks(tmp_path: Path) -> None:
    """A batch in shares is a batch of one structure; runs are not stacked, and say why."""
    trained(data(), accumulate=2)
    dataset = data()
    runs = [
        {"vae": pair(dataset), "data": dataset, "optimizer": ADAM, "epochs": 1, "batch_size": 64, "seed": s}
        for s in range(2)
    ]
    from ppl_vae.sweeps.lockstep import fit_together

    assert {outcome.alone for outcome in fit_together(runs)} == {"its data are of several structures"}


def test_elsewhere_they_are_refused() -> None:
    dataset = data()
    for call in (pv.evaluate, pv.posterior, pv.encode):
        with pytest.raises(DataError, match=r"several structures.*parts"):
            call(pair(dataset), dataset.train)


@pytest.mark.slow
def test_data_without_labels_teach_a_classifier() -> None:
    """100 labels on digits: above what a network of the same size makes of them alone (seen: 84 % and 72 %)."""
    from sklearn.neural_network import MLPClassifier

    dataset = pv.datasets.load("digits", labelled=100)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pv.models.SemiSupervised(dataset.spec)
        vae = pv.VAE(model, pv.guides.SemiSupervisedAmortized(dataset.spec, model))
    pv.fit(vae, dataset, optimizer=ADAM, epochs=120, batch_size=100, seed=0, progress=False)
    (x,), truth = dataset.test.batch(), dataset.test.labels
    with torch.no_grad():
        found = float((model.classifier(x).argmax(-1) == truth).float().mean())
    some = dataset.train.parts[1]
    alone = MLPClassifier((256,), max_iter=500, random_state=0)
    alone.fit(some.batch()[0].flatten(1).numpy(), some.labels.numpy())
    assert found > alone.score(x.flatten(1).numpy(), truth.numpy()) + 0.05
