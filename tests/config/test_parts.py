"""Parts by name: who takes them, what is refused, and every combination built, trained, saved and opened."""

import itertools
import json

import pytest
import torch
import yaml

import ppl_vae as pv
from ppl_vae.config.build import build_vae
from ppl_vae.config.parts import chosen, options, with_parts
from ppl_vae.config.schema import conf_dir
from ppl_vae.config.signature import PARTS, additions
from ppl_vae.datasets.spec import Field, Spec
from ppl_vae.errors import ArgumentError, UsageError

SPEC = Spec((1, 8, 8), "binary")
SMALL = {
    "mixture": {"components": 3},
    "full_mixture": {"components": 2},
    "flow": {"layers": 2, "hidden": 4},
    "autoregressive": {"components": 2, "hidden": [4]},
    "mlp": {"hidden": [6]},
    "conv": {"channels": [3], "hidden": [6]},
    "resnet": {"channels": [3], "hidden": [6]},
    "recurrent": {"width": 6},
    "transformer": {"width": 4, "heads": 2, "layers": 1},
}


def named(group):
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml") if p.stem not in ("auto", "conditional"))


def node(group, option):
    return yaml.safe_load((conf_dir() / group / f"{option}.yaml").read_text("utf-8")) | SMALL.get(option, {})


def config(**parts):
    pair = {
        "likelihood": {"_target_": "ppl_vae.likelihoods.Bernoulli"},
        "model": {"_target_": "ppl_vae.models.VAE", "latent_dim": 3, "hidden": [4]},
        "guide": {"_target_": "ppl_vae.guides.Amortized", "hidden": [4]},
    }
    return pair | {group: node(group, option) for group, option in parts.items()}


ALL = list(itertools.product(named("prior"), named("encoder"), named("decoder")))
ONCE = {next(c for c in ALL if option == c[place]) for place, group in enumerate(PARTS) for option in named(group)}
"""Each part in one combination at least."""


def test_each_part_is_among_the_combinations_that_are_always_tried():
    assert len(ALL) == len(named("prior")) * len(named("encoder")) * len(named("decoder"))
    assert all({c[place] for c in ONCE} == set(named(group)) for place, group in enumerate(PARTS))


@pytest.mark.parametrize(
    ("prior", "encoder", "decoder"),
    [c if c in ONCE else pytest.param(*c, marks=pytest.mark.slow) for c in ALL],
    ids=["-".join(c) for c in ALL],
)
def test_it_is_built_takes_a_step_and_opens_equal_to_the_bit(prior, encoder, decoder):
    plain = config(prior=prior, encoder=encoder, decoder=decoder)
    plain = plain | additions(plain)
    torch.manual_seed(0)
    vae = build_vae(plain, SPEC, trusted=False)
    x = torch.rand(5, 1, 8, 8).round()
    optimizer = torch.optim.Adam(vae.parameters(), 0.01)
    bound = pv.objectives.ELBO(num_particles=2, kl="sampled")(vae, (x,), total=5)
    (-bound.surrogate).backward()
    assert not {n for n, p in vae.named_parameters() if p.grad is None}
    optimizer.step()
    spec = Spec.from_dict(json.loads(json.dumps(SPEC.to_dict())))
    other = build_vae(yaml.safe_load(yaml.safe_dump(plain)), spec, trusted=False)  # a stranger's, too
    other.load_state_dict(vae.state_dict())

    def figure(pair):
        torch.manual_seed(1)
        with torch.no_grad():
            return pv.terms(pair, (x,), particles=2, total=5).model["x"].log_prob

    assert torch.equal(figure(vae), figure(other))


@pytest.mark.parametrize(
    ("prior", "encoder", "decoder"),
    [("autoregressive", "recurrent", "transformer"), ("full_mixture", "transformer", "recurrent"),
     pytest.param("flow", "resnet", "resnet", marks=pytest.mark.slow)],
)  # fmt: skip
def test_it_is_recorded_and_the_step_is_the_programs(prior, encoder, decoder):
    data = pv.datasets.from_arrays(torch.rand(40, 1, 8, 8).round(), validation=8, test=8)

    def trained(how):
        torch.manual_seed(0)
        vae = build_vae(config(prior=prior, encoder=encoder, decoder=decoder), SPEC)
        pv.fit(vae, data, epochs=2, batch_size=8, seed=0, compile=how)
        return vae.state_dict()

    program, recorded = trained("off"), trained("export")
    assert all(torch.equal(program[name], recorded[name]) for name in program)


CLASSES = Spec(
    (1, 8, 8), "binary", fields=(Field("x", (1, 8, 8), "float32"), Field("y", (), "int64", classes=4)), num_classes=4
)


@pytest.mark.parametrize("option", ["conditional", *named("prior")])
def test_a_prior_of_what_is_given(option):
    plain = config(prior=option, encoder="conv", decoder="conv")
    plain["model"]["_target_"], plain["guide"]["_target_"] = (
        "ppl_vae.models.Conditional",
        "ppl_vae.guides.ConditionalAmortized",
    )
    vae = build_vae(plain, CLASSES)
    x, y = torch.rand(4, 1, 8, 8).round(), torch.arange(4)
    prior = pv.terms(vae, (x, y), particles=2, total=4).model["z"].log_prob
    assert prior.shape == (2, 4)
    with torch.no_grad():
        draws = pv.generate(vae, 4, given={"y": y})
    assert draws.shape == (4, 1, 8, 8)


def test_old_names_are_parts():
    old = {"model": {"_target_": "ppl_vae.models.VAE", "prior": "flow"}}
    new = with_parts(old)
    assert new == {"model": {"_target_": "ppl_vae.models.VAE"}, "prior": {"_target_": "ppl_vae.nn.FlowPrior",
                   "layers": 4, "hidden": 64, "affine": False}}  # fmt: skip
    assert with_parts(new) == new
    assert old["model"]["prior"] == "flow"  # a copy
    assert with_parts({"model": {"_target_": "ppl_vae.models.VAE", "prior": "normal"}}) == {"model": new["model"]}
    own = {"model": {"_target_": "mine.Model", "prior": "flow"}}
    assert with_parts(own) == own
    with pytest.raises(UsageError, match=r"model\.prior=flow: prior is given, too"):
        with_parts(old | {"prior": {"_target_": "ppl_vae.nn.FlowPrior"}})


def test_a_prior_that_was_fitted_is_put_there_afterwards():
    plain = config(prior="mixture")
    plain["prior"]["dim"] = 3
    plain["prior_at"] = "prior"
    assert chosen(plain) == ()
    assert type(build_vae(plain, SPEC).model.prior).__name__ == "MixturePrior"


def test_who_takes_a_part():
    assert {("model", "vae"), ("model", "conditional")} <= set(options("decoder"))
    assert ("guide", "iaf") in set(options("encoder"))
    assert ("model", "conv") not in set(options("decoder"))


REFUSED = {
    "nobody takes it": ({"decoder": "conv"}, {"model": "GMVAE"}, UsageError, r"these have: .*model=vae"),
    "given twice": ({"prior": "flow"}, {"own": "ppl_vae.nn.StandardNormal"}, UsageError, "both given"),
    "of what is given": (
        {"prior": "conditional"},
        {},
        ArgumentError,
        r"the class ConditionalPrior, .*model=conditional",
    ),
}


@pytest.mark.parametrize(("parts", "how", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(parts, how, error, words):
    plain = config(**parts)
    if "model" in how:
        plain["model"] = {"_target_": f"ppl_vae.models.{how['model']}"}
    if "own" in how:
        plain["model"]["prior"] = {"_target_": how["own"], "_partial_": True}
    with pytest.raises(error, match=words):
        build_vae(plain, SPEC)
