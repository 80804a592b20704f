"""A bound that becomes NaN is reported where it happened."""

import math
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import NonFiniteError
from ppl_vae.training import loop
from tests.training.pairs import Guide, Model, dataset, identical, pair, quiet, rows, weights


class Breaking(Guide):
    """Breaks one number of the guide in its n-th training step."""

    def __init__(self, at: int, what: str) -> None:
        super().__init__()
        self.at, self.what = at, what
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # so that a replay counts again

    def forward(self, x, *_):
        loc, raw = self.encoder(x).chunk(2, -1)
        scale = nn.functional.softplus(raw) + 1e-4
        if self.training:
            self.step += 1
        broken = self.training and self.step == self.at
        if broken and self.what == "loc":
            loc = loc * math.nan
        if broken and self.what == "scale":
            scale = scale * 0
        if broken and self.what == "gradient":
            # 0·∞ in the backward pass
            loc = loc + torch.where(loc > 1e9, (loc * 0).sqrt(), torch.zeros_like(loc))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class Interrupted(Breaking):
    """The same, with Ctrl-C in a step."""

    stop: int | None = None

    def forward(self, x, *_):
        super().forward(x)
        if self.training and self.step == self.stop:
            signal.raise_signal(signal.SIGINT)


class Killed(BaseException):
    """The process is gone."""


class Ended(Interrupted):
    """The same, with its end in a step."""

    def forward(self, x, *_):
        if self.training and self.step + 1 == self.stop:
            raise Killed
        super(Interrupted, self).forward(x)


def test_a_run_that_is_killed_after_its_state_was_saved_within_the_epoch_names_it_too(tmp_path, monkeypatch):
    options = {"epochs": 4, "batch_size": 16, "compile": "off", "directory": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "LOST", 0.0)
        patch.setattr(Ended, "stop", 8)
        with pytest.raises(Killed):
            quiet(pv.VAE(Model(), Ended(6, "loc")), dataset(), **options)
    with pytest.raises(NonFiniteError) as error:
        quiet(pv.VAE(Model(), Ended(6, "loc")), dataset(), **options, resume=True)
    assert (error.value.epoch, error.value.step, error.value.site) == (2, 6, "z")


@pytest.mark.parametrize("stop", [6, 7, 8])
def test_a_run_that_is_interrupted_after_it_names_the_step_when_it_goes_on(stop, tmp_path, monkeypatch):
    options = {"epochs": 4, "batch_size": 16, "compile": "off", "directory": tmp_path}
    with monkeypatch.context() as patch:
        patch.setattr(Interrupted, "stop", stop)
        with pytest.raises(KeyboardInterrupt):
            quiet(pv.VAE(Model(), Interrupted(6, "loc")), dataset(), **options)
    with pytest.raises(NonFiniteError) as error:
        quiet(pv.VAE(Model(), Interrupted(6, "loc")), dataset(), **options, resume=True)
    assert (error.value.epoch, error.value.step, error.value.site) == (2, 6, "z")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("loc", ["site 'z' in the guide", "'loc'", "32 NaN among 32"]),
        ("scale", ["site 'z' in the guide", "log-density"]),
        ("gradient", ["gradient of 'guide.encoder", "NaN"]),
    ],
)
@pytest.mark.parametrize("at", [1, 2, 7])
def test_epoch_step_and_site_are_named(what, words, at, tmp_path):
    vae = pv.VAE(Model(), Breaking(at, what))
    with pytest.raises(NonFiniteError) as error:
        quiet(vae, dataset(), epochs=4, batch_size=16, directory=tmp_path)
    message = str(error.value)
    for word in [*words, f"epoch {(at + 3) // 4}", f"step {at} ", f"batch {(at - 1) % 4 + 1} ", "grad_clip", "To try"]:
        assert word in message, message
    assert error.value.epoch == (at + 3) // 4
    assert error.value.step == at
    assert error.value.site == (None if what == "gradient" else "z")
    assert error.value.history.status == "failed"
    assert len(error.value.history) == (at - 1) // 4


def test_the_pair_holds_the_weights_of_before_the_step(tmp_path):
    """… which are those of a run that stops just before it; the directory holds those after the last whole epoch."""
    expected, vae = pv.VAE(Model(), Breaking(99, "loc")), pv.VAE(Model(), Breaking(7, "loc"))
    expected.load_state_dict(vae.state_dict())
    quiet(expected, dataset(), steps=6, batch_size=16, keep="last")
    with pytest.raises(NonFiniteError):
        quiet(vae, dataset(), epochs=4, batch_size=16, keep="last", directory=tmp_path)
    ours, theirs = weights(vae), weights(expected)
    assert identical(ours, theirs)
    assert all(torch.isfinite(t).all() for t in load_file(tmp_path / "model.safetensors").values())
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_broken_weights_are_named():
    vae = pair()
    with torch.no_grad():
        vae.model.decoder[0].weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=r"'model\.decoder\.0\.weight' holds 1 NaN among 8 before"):
        quiet(vae, dataset())


def test_errors_of_users_pass_unchanged():
    class Failing(Guide):
        def forward(self, x, *_):
            if self.training:
                raise ValueError("theirs")
            return super().forward(x)

    with pytest.raises(ValueError, match="theirs"):
        quiet(pv.VAE(Model(), Failing()), dataset())


def test_an_infinite_validation_bound_warns_and_is_never_the_best():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Uniform(-1.0, 1.0, validate_args=False), obs=x)
            return z

    def guide(x):
        a = pyro.param("a", torch.tensor(0.1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(a * x, 1.0))

    data = pv.datasets.from_arrays(torch.rand(20), 3 + torch.rand(5))
    with pytest.warns(UserWarning, match="outside the support"):
        history = quiet(pv.VAE(model, guide), data, epochs=2)
    assert history["validation/bound"] == [-math.inf] * 2
    assert history.best_epoch == 2
    assert '"validation/bound": null' in history.to_jsonl()


def test_looking_for_the_step_does_not_disturb_a_healthy_run():
    """The same run, read after every step by the clock of its progress."""
    from ppl_vae.training.progress import Quiet

    class Eager(Quiet):
        seconds = 0.0

    expected = rows(quiet(pair(), dataset("dynamic"), epochs=2, batch_size=16))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "reporter", lambda *a, **k: Eager())
        assert rows(quiet(pair(), dataset("dynamic"), epochs=2, batch_size=16)) == expected
