"""Which keys reach a `_target_`: a law on random layers, told leaf by leaf, against the walk down the tree."""

import random
from collections.abc import Mapping

import pytest
from omegaconf import OmegaConf

from ppl_vae.config.layers import TARGET, Layer, Source, keep_own
from ppl_vae.errors import UsageError

PACKAGE, FILE, TYPED = Source.package, Source.file, Source.typed


def leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def under(tree, path):
    for key in path:
        tree = tree.get(key, {}) if isinstance(tree, Mapping) else {}
    return tree if isinstance(tree, Mapping) else {}


def merged(layers):
    return OmegaConf.to_container(OmegaConf.merge({}, *(layer.values for layer in layers)))


def expected(layers):
    """Leaf by leaf: the last writer, and at each node above whose target was in force when it wrote."""
    kept, loose = {}, set()
    whole = merged(layers)
    for path, value in leaves(whole):
        writer = max(i for i, layer in enumerate(layers) if path[-1] in under(layer.values, path[:-1]))
        source = layers[writer].source
        matches = []
        for depth in range(len(path)):
            target = under(whole, path[:depth]).get(TARGET)
            own = [under(x.values, path[:depth]) for x in layers[: writer + 1] if x.source is source]
            named = [node[TARGET] for node in own if TARGET in node]
            if target is not None:
                matches.append((named[-1] if named else None, target))
        if source is PACKAGE and any(a != b for a, b in matches):
            continue
        if source is FILE and path[-1] != TARGET and any(a not in (None, b) for a, b in matches):
            loose.add(".".join(path))
        kept[path] = value
    return kept, loose


def a_tree(chance, depth=0):
    node = {}
    if chance.random() < 0.5:
        node[TARGET] = chance.choice(["a.A", "b.B", "c.C"])
    for key in ("x", "y"):
        draw = chance.random()
        if draw < 0.5:
            node[key] = chance.randrange(3)
        elif draw < 0.7 and depth < 1:
            node[key] = a_tree(chance, depth + 1)
    return node


@pytest.mark.parametrize("seed", range(8))
def test_random_layers(seed):
    """500 stacks of one to five layers; values that are equal to the old ones are as good as others."""
    chance = random.Random(seed)
    for _ in range(500):
        layers = [
            Layer(chance.choice([PACKAGE, PACKAGE, FILE]), {"g": a_tree(chance)}) for _ in range(chance.randint(1, 4))
        ]
        if chance.random() < 0.7:
            layers.append(Layer(TYPED, {"g": a_tree(chance)}))
        try:
            whole = merged(layers)
        except Exception:  # a mapping over a number is no config
            continue
        if any(isinstance(under(a.values, p[:-1]).get(p[-1]), Mapping) for a in layers for p, _ in leaves(whole)):
            continue
        found = keep_own(whole, layers)
        kept, loose = expected(layers)
        assert dict(leaves(found.values)) == kept, layers
        assert found.loose == loose, layers


VAE = {TARGET: "ppl_vae.models.VAE", "latent_dim": 8, "hidden": [256]}
STACKS = {
    "not replaced": ([(PACKAGE, VAE), (TYPED, {"latent_dim": 3})], {**VAE, "latent_dim": 3}),
    "the same again": ([(PACKAGE, VAE), (TYPED, {TARGET: VAE[TARGET]})], VAE),
    "replaced": ([(PACKAGE, VAE), (TYPED, {TARGET: "my.M"})], {TARGET: "my.M"}),
    "typed as the old one was": (
        [(PACKAGE, VAE), (TYPED, {TARGET: "my.M", "latent_dim": 8})],
        {TARGET: "my.M", "latent_dim": 8},
    ),
    "replaced by a file": ([(PACKAGE, VAE), (FILE, {TARGET: "my.M", "depth": 1})], {TARGET: "my.M", "depth": 1}),
    "overlay of a file": (
        [(PACKAGE, VAE), (FILE, {"latent_dim": 3}), (TYPED, {TARGET: "my.M"})],
        {TARGET: "my.M", "latent_dim": 3},
    ),
    "experiment of the package on a user's option": (
        [(FILE, {TARGET: "my.M"}), (PACKAGE, {"latent_dim": 16})],
        {TARGET: "my.M"},
    ),
    "experiment of the package on its own option": (
        [(PACKAGE, VAE), (PACKAGE, {"latent_dim": 16})],
        {**VAE, "latent_dim": 16},
    ),
    "nested": (
        [(PACKAGE, {TARGET: "o.O", "b": {TARGET: "s.S", "over": 9}}), (TYPED, {"b": {TARGET: "my.s", "start": 1}})],
        {TARGET: "o.O", "b": {TARGET: "my.s", "start": 1}},
    ),
    "nested in what is replaced": (
        [(PACKAGE, {TARGET: "o.O", "b": {TARGET: "s.S", "over": 9}}), (TYPED, {TARGET: "my.O"})],
        {TARGET: "my.O"},
    ),
}


@pytest.mark.parametrize(("stack", "node"), STACKS.values(), ids=STACKS)
def test_stacks(stack, node):
    layers = [Layer(source, {"g": values}) for source, values in stack]
    assert keep_own(merged(layers), layers).values == {"g": node}


def test_one_element_of_a_list_that_has_gone():
    layers = [Layer(PACKAGE, {"g": VAE}), Layer(TYPED, {"g": {TARGET: "my.M", "hidden": {"0": 5}}})]
    with pytest.raises(UsageError, match=r"g\.hidden\.0: one element .* give the whole list: g\.hidden="):
        keep_own({"g": {TARGET: "my.M", "latent_dim": 8, "hidden": [5]}}, layers)
