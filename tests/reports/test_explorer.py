"""The explorer: its decoder is the pair's own, in a browser; what is clicked, moved and chosen is what is shown."""

import base64
import json
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.datasets import Spec
from ppl_vae.datasets.split import Split
from ppl_vae.errors import CheckError
from ppl_vae.reports.explorer import in_page
from ppl_vae.reports.explorer.collect import LEVELS, explore
from tests.reports.browser import MISSING, PATH, Browser

bokeh = pytest.importorskip("bokeh", reason="pip install 'ppl-vae[explore]'")
from ppl_vae.reports.explorer.page import explorer_page  # noqa: E402

in_a_browser = pytest.mark.skipif(PATH is None, reason=MISSING)
EVIL = "</script><img src=http://x onerror=alert(1)><!--'\"&"


def until(browser, condition):
    """True as soon as it holds in the page, which answers after a while; False if it does not within a minute."""
    look = f"const look = () => ({condition}) ? done(true) : left-- ? setTimeout(look, 100) : done(false);"
    return browser(f"new Promise(done => {{ let left = 600; {look} look(); }})")


IMAGES = {
    "mlp": (lambda spec: pv.models.VAE(spec, latent_dim=3, activation="elu"), pv.guides.Amortized),
    "conv": (
        lambda spec: pv.models.ConvVAE(spec, latent_dim=3, channels=(6, 4), hidden=(9,), residual=True),
        pv.guides.ConvAmortized,
    ),
}


def images(name, shape=(1, 7, 5), n=30):
    torch.manual_seed(0)
    spec = Spec(shape, "binary")
    model, guide = IMAGES[name]
    made = model(spec)
    x = (torch.rand(n, *shape) < 0.4).float()
    vae = pv.VAE(made, guide(spec, made))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return vae, Split((x,), labels=torch.arange(n) % 3), spec


def page(found):
    return explorer_page(found, f"a run{EVIL}", {"model": EVIL})


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path / "profile") as opened:
        yield opened


def opened(browser, path, text, width=1366, dark=False):
    path.write_text(text, encoding="utf-8")
    browser.open(path, width=width, dark=dark)
    assert until(browser, "document.documentElement.dataset.ready")
    assert browser.errors == []
    assert all(re.match("file:|data:|blob:", address) for address in browser.requested)


class Every(nn.Module):
    """A decoder of all operations that the page lists."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 24), nn.Linear(24, 24, bias=False)
        self.up = nn.ConvTranspose2d(2, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.down = nn.Conv2d(6, 3, 3, stride=(2, 1), padding=(0, 1), dilation=(1, 1))
        self.scale = nn.Parameter(torch.rand(24) + 0.5)

    def forward(self, z):
        h = self.first(z)
        for act in (torch.tanh, nn.functional.elu, nn.functional.gelu, nn.functional.softplus, torch.sigmoid):
            h = act(h * self.scale - 0.3) / 0.7
        h = nn.functional.leaky_relu(h) + h.abs().sqrt() + (h + 5).log() + h.exp() - h.sin() * h.cos()
        a, b = self.last(h).chunk(2, -1)
        h = (a.relu() - b.neg()).reshape(-1, 2, 2, 3)
        h = self.down(self.up(h)).flatten(1)
        return torch.softmax(h.reshape(-1, 3, h.shape[-1] // 3).transpose(1, 2), -1).log1p()


@in_a_browser
@pytest.mark.slow
def test_the_page_decodes_as_the_pair_does(browser, tmp_path):
    """Within 10⁻⁴, which float32 leaves; each listed operation, and the ready-made decoders of images."""
    for name in IMAGES:
        vae, split, spec = images(name)
        found = explore(vae, split, spec, chains=0, num_particles=5)
        assert found.why == ""
        opened(browser, tmp_path / f"{name}.html", page(found))
        for z in torch.randn(3, 3):
            shown = browser(f"window.explorer.decode({z.tolist()})")
            expected = pv.decode(vae, z[None], like=split.tensors[0]).flatten().tolist()
            assert shown == pytest.approx(expected, abs=1e-4)
    torch.manual_seed(0)
    decoder = Every()
    found.program = in_page.steps_of(decoder, 4, torch.float32)
    found.x, found.is_image, found.units = np.random.default_rng(0).normal(size=(30, 18)), False, [0, 1, 2, 3]
    found.loc = found.scale = np.random.default_rng(1).uniform(0.5, 1, (30, 4))
    opened(browser, tmp_path / "every.html", page(found))
    for z in torch.randn(3, 4):
        shown = browser(f"window.explorer.decode({z.tolist()})")
        assert shown == pytest.approx(decoder(z[None]).flatten().tolist(), abs=1e-4)
    done = {step["does"] for step in found.program["steps"]}
    assert {"linear", "convolution", "softmax", "take", "gelu", "elu", "leaky_relu", "mul", "where"} <= done


@in_a_browser
@pytest.mark.slow
def test_what_is_clicked_moved_and_chosen_is_shown(browser, tmp_path):
    vae, split, spec = images("mlp")
    found = explore(vae, split, spec, chains=2, num_particles=5)
    assert len(found.chains) == 2
    found.rows, found.class_names = np.array([f"{i}{EVIL}" for i in range(30)]), [f"{k}{EVIL}" for k in range(3)]
    opened(browser, tmp_path / "explore.html", page(found))
    browser("window.model = name => Bokeh.documents[0].get_model_by_name(name), true")
    browser("window.made = () => Array.from(model('made_source').data.image[0]).join(), true")
    told = "model('about').text.includes"
    assert until(browser, f"{told}('Datum 0')")
    browser("model('points').selected.indices = [7], window.before = '', true")
    assert until(browser, f"{told}('Datum 7')")
    browser("window.before = made(), model('unit_0').value = model('unit_0').end, true")
    assert until(browser, "made() !== before")
    browser("model('points').selected.indices = [1, 2, 3], true")
    assert until(browser, f"{told}('3 data')")
    unit = found.units[0]
    browser(f"model('across').value = 'z[{unit}]', model('tint').value = 'ELBO', true")
    assert until(browser, "model('legend').text.endsWith('nats')")
    across = browser("Array.from(model('points').data.across)")
    assert across == pytest.approx(found.loc[:, unit].tolist(), abs=1e-6)
    browser("model('points').selected.indices = [4], true")
    assert until(browser, f"{told}('Datum 4')")
    browser("window.explorer.other(), model('points').selected.indices = [5], true")
    assert until(browser, f"{told}('Datum 5')")
    browser("model('way').value = 1, true")
    assert until(browser, f"Math.abs(model('here').data.across[0] - {found.loc[4, unit]}) < 1e-5")
    browser("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'n', bubbles: true})), true")
    assert until(browser, f"{told}('Datum 6')")
    browser("window.explorer.other(), true")
    assert not browser("document.querySelector('img[src*=http]')")
    assert all("<img" not in browser(f"model('{name}').text") for name in ("about", "said", "legend"))
    assert browser.errors == []
    opened(browser, tmp_path / "explore.html", page(found), width=390)
    assert browser("document.documentElement.scrollWidth") <= 390


TURNED = """(() => {
  const found = [], look = root => root.querySelectorAll("*").forEach(element => {
    if (getComputedStyle(element).filter !== "none") found.push(element);
    if (element.shadowRoot) look(element.shadowRoot);
  });
  look(document);
  return [getComputedStyle(document.body).backgroundColor, found.map(element => element.className).join(" ")];
})()"""
"""The colour of the page, and the kinds of what is drawn with lightness turned round."""


@in_a_browser
@pytest.mark.slow
def test_it_is_dark_where_the_reader_wants_that_but_for_pictures_of_data(browser, tmp_path):
    vae, split, spec = images("mlp")
    text = page(explore(vae, split, spec, chains=0, num_particles=5))
    opened(browser, tmp_path / "light.html", text)
    assert browser(TURNED) == ["rgb(255, 255, 255)", ""]
    opened(browser, tmp_path / "dark.html", text, dark=True)
    colour, turned = browser(TURNED)
    assert colour == "rgb(18, 24, 31)"
    assert {"bk-Select", "bk-Slider", "bk-Button", "bk-Figure"} <= set(turned.split())
    assert turned.split().count("bk-Figure") == 1  # the map


def test_texts_end_no_script():
    vae, split, spec = images("mlp")
    found = explore(vae, split, spec, chains=0, num_particles=2)
    found.rows, found.class_names = np.array([EVIL] * 30), (EVIL,) * 3
    text = page(found)
    assert EVIL not in text
    data = re.search(r'id="explored">(.*?)</script>', text, re.S)[1]
    assert json.loads(data)["rows"][0] == EVIL
    assert np.frombuffer(base64.b64decode(json.loads(data)["loc"]), np.float32).shape == (30 * 3,)


def test_a_decoder_that_does_something_else_is_decoded_ahead(monkeypatch):
    vae, split, spec = images("mlp")
    monkeypatch.setattr(in_page, "MOST", 10)
    found = explore(vae, split, spec, chains=0, num_particles=2)
    assert found.program is None
    assert "more than 10 weights" in found.why
    assert found.rebuilt.shape == (30, 1, 7, 5)
    assert found.traversals.shape == (3, len(LEVELS), 1, 7, 5)
    codes = pv.encode(vae, split)["z"].loc
    np.testing.assert_allclose(found.rebuilt, pv.decode(vae, codes, like=split.tensors[0]).numpy(), atol=1e-5)
    assert "decoded ahead" in page(found)
    with pytest.raises(in_page.NotInPage, match="cumsum"):
        in_page.steps_of(lambda z: z.cumsum(-1), 2, torch.float32)


def test_one_of_several_latents_of_a_table_can_be_chosen():
    def model(x):
        with pyro.plate("data", x.shape[0]):
            top = pyro.sample("top", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            z = pyro.sample("z", dist.Normal(top, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("top", dist.Normal(x / 3, 0.8).to_event(1))
            pyro.sample("z", dist.Normal(x / 1.5, 0.8).to_event(1))

    vae, x = pv.VAE(model, guide), torch.randn(20, 2)
    found = explore(vae, x, chains=2, num_particles=5)
    assert (found.site, found.is_image, found.why) == ("z", False, "it takes more than this latent")
    assert found.chains[next(iter(found.chains))].shape == (100, 2)
    assert explore(vae, x, site="top", chains=0, num_particles=5).site == "top"
    with pytest.raises(CheckError, match="site='y', expected a latent of real numbers: top, z"):
        explore(vae, x, site="y", chains=0, num_particles=5)
    assert "decoded ahead" in page(found)


def test_a_pair_without_real_latents_is_refused():
    spec = Spec((6,), "real")
    model = pv.models.Autoencoder(spec, latent_dim=2)
    vae = pv.VAE(model, pv.guides.Deterministic(spec, model))
    with pytest.raises(CheckError, match="no latent of real numbers"):
        explore(vae, torch.randn(5, 6), spec, chains=0)


def test_a_step_of_a_sequence_has_a_page_without_chains():
    x, lengths = torch.randn(12, 4, 2), torch.tensor([4, 3] * 6)
    data = pv.datasets.from_arrays({"x": x, "lengths": lengths})
    model = pv.models.StateSpace(data.spec)
    vae = pv.VAE(model, pv.guides.Recurrent(data.spec, model))
    pv.prepare(vae, data.train.batch())
    found = explore(vae, data.train, data.spec, chains=2, num_particles=3)
    assert found.site.startswith("z_")
    assert found.chains == {}
    assert "decoded ahead" in page(found)
