"""The picture of a pair shows its sites, what each depends on, and its plates: exactly these, read off the drawing."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.patches import FancyBboxPatch
from torch import nn

import ppl_vae as pv
from ppl_vae.core.dependencies import dependencies as graphs
from ppl_vae.errors import CheckError
from ppl_vae.guides import Derived
from ppl_vae.guides.family import Own
from ppl_vae.plots import dependencies, gallery, render
from tests.generated.compare import double
from tests.guides import gaussian
from tests.guides.test_derived_search import program


def drawn(axes):
    """What a panel says: its boxes as (name, law), shaded ones, edges by rows, and frames as (label, first, last)."""
    patches = [(p.get_bbox(), p) for p in axes.patches if isinstance(p, FancyBboxPatch)]
    boxes = [(b, p) for b, p in patches if p.get_zorder() == 4]
    texts = {(round(t.get_position()[0], 3), round(t.get_position()[1], 3)): t.get_text() for t in axes.texts}

    def words(b):
        inside = [(y, text) for (x, y), text in texts.items() if b.x0 < x < b.x1 and b.y0 < y < b.y1]
        return tuple(text for _, text in sorted(inside, reverse=True) if text)

    def row(y):
        return next(i for i, (b, _) in enumerate(boxes) if b.y0 < y < b.y1)

    def column(x):  # a box is left at one distance from its left side
        return min(range(len(boxes)), key=lambda i: abs(boxes[i][0].x0 + 0.16 - x))

    dots = [line for line in axes.lines if line.get_marker() == "o"]
    edges = {(column(d.get_xdata()[0]), row(d.get_ydata()[0])) for d in dots}
    assert len(edges) == len(dots)
    frames = set()
    for b, p in patches:
        if p.get_zorder() == 1:
            inside = [
                i for i, (o, _) in enumerate(boxes) if b.x0 < o.x0 and b.x1 > o.x1 and b.y0 < o.y0 and b.y1 > o.y1
            ]
            label = next(
                t for (x, y), t in texts.items() if abs(x - b.x1 + 0.06) < 2e-3 and abs(y - b.y0 - 0.045) < 2e-3
            )
            assert inside == list(range(inside[0], inside[-1] + 1))
            frames.add((label, inside[0], inside[-1]))
    dark = [i for i, (_, p) in enumerate(boxes) if p.get_facecolor()[:3] != (1.0, 1.0, 1.0)]
    return [words(b) for b, _ in boxes], dark, edges, frames


def panels(figure):
    return {axes.get_title(loc="left"): drawn(axes) for axes in figure.axes}


def several(x, known):
    """A global latent, plates in each other, a point, a bound that moves, a mask, a name that mathtext would take."""
    data = pyro.plate("data", x.shape[0], dim=-1)
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("groups", 4, dim=-2):
        a = pyro.sample("a", dist.Normal(mu, 1.0))
        with data:
            z = pyro.sample("$z", dist.Normal(a.unsqueeze(-1).expand(4, len(x), 2), 1.0).to_event(1)).sum(-1)
            y = pyro.sample("y", dist.Delta(z))
            u = pyro.sample("u", dist.Uniform(0 * y, 1 + x.abs()))
    with data, pyro.poutine.mask(mask=known):
        pyro.sample("x", dist.Normal((u + y).sum(-2), 1.0), obs=x)


@pytest.mark.parametrize("condition", [True, False])
def test_a_derived_guide_beside_its_model(condition):
    x = torch.randn(3)
    guide = Derived(several, family="full_rank", hidden=[4], condition=condition)
    figure = dependencies(pv.VAE(several, guide), (x, x > 0))
    boxes, dark, edges, frames = panels(figure)["Model"]
    assert boxes == [
        ("mu", "Normal"),
        ("a", "Normal"),
        ("x",),
        ("$z", "Normal (2)"),
        ("y", "Delta"),
        ("u", "Uniform"),
        ("x", "Normal"),
    ]
    assert dark == [2, 6]
    # A point stands for what it is computed from: x depends on u and on $z.
    assert edges == {(0, 1), (1, 3), (3, 4), (2, 5), (3, 5), (5, 6), (3, 6)}
    assert frames == {("groups: 4", 1, 1), ("data", 2, 6), ("groups: 4", 3, 5)}
    boxes, dark, edges, frames = panels(figure)["Guide"]
    assert boxes == [
        ("mu", "diagonal"),
        ("a", "diagonal"),
        ("x",),
        ("known",),
        ("$z", "full_rank (2)"),
        ("y", "the model's own"),
        ("u", "diagonal"),
    ]
    assert dark == [2, 3]
    # The bound of u is 0 · y: the model itself lets it depend on $z.
    batch = {(2, 4), (3, 4), (2, 6), (3, 6), (4, 5), (4, 6)}
    assert edges == (batch | {(0, 4), (1, 4), (0, 6), (1, 6), (5, 6)} if condition else batch)
    assert frames == {("groups: 4", 1, 1), ("data", 2, 6), ("groups: 4", 4, 6)}
    assert render(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("seed", range(12))
def test_edges_are_those_of_the_program(seed):
    """Of generated models each site has a list of parents; a guide is fed what it was built to be fed."""
    with double():
        p = gaussian.generate(seed)
        model = program(gaussian.source(p))
        guide = Derived(model, hidden=[4], condition=seed % 4 > 0)
        vae = pv.VAE(model, guide)
        figure = dependencies(vae, p.batch)
        followed = graphs(vae, p.batch)[1]
    boxes, _, edges, frames = panels(figure)["Model"]
    rows = {box[0]: i for i, box in enumerate(boxes)}
    assert list(rows) == [site.name for site in p.sites]
    assert edges == {(rows[parent], rows[s.name]) for s in p.sites for parent, _ in s.parents}
    around = {(label.split(":")[0], row) for label, first, last in frames for row in range(first, last + 1)}
    assert around == {(plate, rows[s.name]) for s in p.sites for plate in s.plates}
    boxes, _, edges, _ = panels(figure)["Guide"]
    rows = {box[0]: i for i, box in enumerate(boxes) if len(box) > 1}
    arguments = [i for i, box in enumerate(boxes) if len(box) == 1]
    expected = set()
    for site in guide.prototype.sites:
        expected |= {(rows[name], rows[site.name]) for name in guide.fed(site)}
        expected |= {(i, rows[site.name]) for i in arguments if site.is_local}
    assert edges == expected
    # What the guide is said to be fed is what values have been seen to reach.
    assert {n.name: n.sites for n in followed.nodes} == {s.name: {*guide.fed(s)} for s in guide.prototype.sites}
    local = [s.name for s in guide.prototype.sites if s.is_local]
    names = [s.name for s in guide.prototype.sites]
    for name in local:
        fed = guide.fed(guide.prototype.sites[names.index(name)])
        assert list(fed) == (names[: names.index(name)] if guide.condition else [])


def test_the_table_and_the_picture_say_the_same():
    guide = Derived(several, hidden=[4])
    x = torch.randn(3)
    guide(x, x > 0)
    lines = {line.split()[0]: line for line in str(guide).splitlines()[1:]}
    for site in guide.prototype.sites:
        assert guide.label(site) in lines[site.name]
        if site.is_local and not isinstance(site.family, Own):
            assert ", ".join(["the batch", *guide.fed(site)]) in lines[site.name]


def test_any_guide_has_a_picture():
    """A hierarchy whose guide draws from the bottom up, and a conditional pair with two arguments."""
    spec = pv.datasets.Spec((5,), "real")
    model = pv.models.Hierarchical(spec, latent_dim=[3, 2])
    found = panels(dependencies(pv.VAE(model, pv.guides.BottomUp(spec, model)), (torch.randn(4, 5),)))
    assert [box[0] for box in found["Model"][0]] == ["z2", "z1", "x"]
    assert found["Model"][2] == {(0, 1), (1, 2)}
    assert found["Guide"][0] == [("x",), ("z1", "Normal (3)"), ("z2", "Normal (2)")]
    assert found["Guide"][2] == {(0, 1), (1, 2)}

    def observed_parent(x, y, *more):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Bernoulli(0.5), obs=y)
            z = pyro.sample("z", dist.Normal(more[1], 1.0))
            pyro.sample("x", dist.Normal(z + k, 1.0), obs=x)

    def guide(x, y, *more):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x - y, 1.0))

    x = torch.randn(4)
    found = panels(dependencies(pv.VAE(observed_parent, guide), (x, (x > 0).float(), x, x + 1)))
    assert [box[0] for box in found["Model"][0]] == ["more[1]", "k", "z", "x"]
    assert found["Model"][1:3] == ([0, 1, 3], {(0, 2), (1, 3), (2, 3)})
    assert found["Guide"][0][:2] == [("x",), ("y",)]
    assert found["Guide"][2] == {(0, 2), (1, 2)}


def test_what_has_the_shape_of_data_alone_does_not_depend_on_them():
    def model(x, like):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), x.new_full((len(x),), 2.0)))
            w = pyro.sample("w", dist.Normal(torch.full_like(x, 1.0), x.new_full((), 1.0) * torch.ones(1).to(x)))
            pyro.sample("x", dist.Normal(z.expand_as(w).type_as(like), 1.0), obs=x)

    x = torch.randn(3)
    boxes, _, edges, _ = panels(dependencies(pv.VAE(model, Derived(model, hidden=[4])), (x, x)))["Model"]
    assert [box[0] for box in boxes] == ["z", "w", "x"]
    assert edges == {(0, 2)}


class Plain(nn.Module):
    """A model that takes no tensors but plain ones."""

    def forward(self, x):
        assert type(x) is torch.Tensor
        with pyro.plate("data", len(x)):
            z, w = (pyro.sample(name, dist.Normal(torch.zeros(len(x)), 1.0)) for name in "zw")
            assert type(z) is torch.Tensor
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        return w


def test_what_cannot_be_followed_is_all_and_says_so():
    """The derived guide runs the model, and still knows what it is fed."""
    model = Plain()
    figure = dependencies(pv.VAE(model, Derived(model, hidden=[4], condition=False)), (torch.randn(3),))
    assert ["not followed" in axes.get_title(loc="right") for axes in figure.axes] == [True, False]
    found = panels(figure)
    assert found["Model"][2] == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert found["Guide"][2] == {(0, 1), (0, 2)}


def test_no_latent_inside_and_none_at_all():
    for model in (lambda x: pyro.sample("w", dist.Normal(0.0, 1.0)), lambda x: None):
        figure = dependencies(pv.VAE(model, Derived(model)), (torch.zeros(3),))
        assert not panels(figure)["Guide"][2]
        render(figure)


def chain(count):
    def model(x):
        with pyro.plate("data", len(x)):
            z = x.new_zeros(len(x))
            for i in range(count - 1):
                z = pyro.sample(f"a_latent_with_a_long_name_{i}", dist.Normal(z, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model


def test_names_keep_their_ends_and_too_many_are_refused():
    x = torch.randn(3)
    boxes, _, edges, _ = panels(dependencies(pv.VAE(chain(15), Derived(chain(15), hidden=[4])), (x,)))["Model"]
    assert boxes[10][0].endswith("_10")
    assert all(len(box[0]) <= 16 for box in boxes)
    assert edges == {(i, i + 1) for i in range(14)}
    with pytest.raises(CheckError, match=r"the model has 41 sites; a picture of more than 40"):
        dependencies(pv.VAE(chain(41), Derived(chain(41), hidden=[2])), (x,))


def test_by_default_it_is_of_the_data_that_the_pair_has_seen():
    model = chain(2)
    vae = pv.VAE(model, Derived(model, hidden=[4]))
    with pytest.raises(CheckError, match="has seen no data and no batch was given"):
        dependencies(vae)
    pv.prepare(vae, (torch.randn(3),))
    before = torch.get_rng_state()
    assert panels(dependencies(vae)) == panels(dependencies(vae, torch.randn(5)))
    assert not torch.equal(before, torch.get_rng_state())  # by the batch alone
    before = torch.get_rng_state()
    dependencies(vae)
    assert torch.equal(before, torch.get_rng_state())


def test_it_is_among_the_pictures_of_a_pair():
    data = pv.datasets.load("digits")
    pair = pv.models.VAE(data.spec)
    vae = pv.VAE(pair, Derived(pair, data.spec, hidden=[8]))
    found = gallery(vae, data.test[:20], data.spec)
    assert "dependencies" in found.figures
    assert not found.failed
