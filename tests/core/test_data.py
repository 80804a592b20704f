"""One door for data: containers and values reach the programs by one set of rules, whichever function they enter by."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, TensorDataset

import ppl_vae as pv
from ppl_vae.core.data import as_batch, as_split, take_batch, take_data
from ppl_vae.errors import DataError, DataWarning, PplVaeError

N, D = 12, 3


def pair(seen=None, dtype=torch.float32):
    """A pair that notes the dtypes that its guide is given."""
    torch.manual_seed(0)
    encode, decode = nn.Linear(D, 4, dtype=dtype), nn.Linear(2, D, dtype=dtype)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decode(z), 1.0).to_event(1), obs=x)

    def guide(x):
        if seen is not None:
            seen.add(x.dtype)
        with pyro.plate("data", x.shape[0]):
            loc, scale = encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


def tokens(seen):
    """A pair that embeds whole numbers."""
    torch.manual_seed(0)
    embed, encode, decode = nn.Embedding(7, 2), nn.Linear(2 * D, 4), nn.Linear(2, 7 * D)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Categorical(logits=decode(z).unflatten(-1, (D, 7))).to_event(1), obs=x)

    def guide(x):
        seen.add(x.dtype)
        with pyro.plate("data", x.shape[0]):
            loc, scale = encode(embed(x).flatten(-2)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))

    return pv.VAE(model, guide)


DOORS = {
    "check": lambda vae, x: pv.check(vae, x),
    "terms": lambda vae, x: pv.terms(vae, x),
    "fit": lambda vae, x: pv.fit(vae, x, epochs=1, progress=False),
    "evaluate": lambda vae, x: pv.evaluate(vae, x, num_particles=2),
    "posterior": lambda vae, x: pv.posterior(vae, x, draws=2),
    "generate": lambda vae, x: pv.generate(vae, 3, like=x, seed=0),
    "gradients": lambda vae, x: pv.gradients(vae, x, samples=10, estimators={"pathwise": pv.estimators.Pathwise()}),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint64"])
def test_whole_numbers_reach_an_embedding_as_such(door, dtype):
    seen = set()
    x = np.random.default_rng(0).integers(7, size=(N, D)).astype(dtype)
    DOORS[door](tokens(seen), x)
    assert seen <= {torch.int64}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_are_of_the_pairs_dtype(door, dtype):
    for x in (torch.randn(N, D, dtype=torch.float64), np.random.default_rng(0).normal(size=(N, D)).astype("float32")):
        seen = set()
        DOORS[door](pair(seen, dtype), x)
        assert seen <= {dtype}


def test_floats_are_left_alone_without_parameters():
    seen = set()

    def model(x):
        seen.add(x.dtype)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    exact = 0.5 * np.log(4 * np.pi) + np.arange(3.0) ** 2 / 4
    for x in (torch.arange(3.0, dtype=torch.float64), np.arange(3.0)):
        table = pv.evaluate(pv.VAE(model, guide), x, num_particles=2).table
        np.testing.assert_allclose(table["nll"], exact, rtol=1e-14)
    assert seen == {torch.float64}


def declared():
    """A pair whose parameters appear when it first runs."""

    def model(x):
        w = pyro.param("w", torch.ones(D))
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * w, 1.0).to_event(1), obs=x)

    def guide(x):
        v = pyro.param("v", torch.ones(D, 1))
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x @ v).squeeze(-1), 1.0))

    return pv.VAE(model, guide)


@pytest.mark.parametrize("door", ["fit", "evaluate", "posterior"])
@pytest.mark.parametrize("kind", ["list", "tensor"])
def test_floats_are_of_the_dtype_of_parameters_that_appear_at_a_first_run(door, kind):
    x = torch.ones(N, D, dtype=torch.float64)
    DOORS[door](declared(), x.tolist() if kind == "list" else x)


@pytest.mark.parametrize("door", ["fit", "evaluate", "posterior", "generate", "gradients"])
def test_floats_that_programs_without_parameters_cannot_take_are_told(door):
    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[..., None], torch.ones(D)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal((x @ torch.ones(D, 1)).squeeze(-1), 1.0))

    with pytest.raises(DataError, match=r"Got x of float64, expected float32, .* Give x.to\(torch.float32\)"):
        DOORS[door](pv.VAE(model, guide), torch.ones(N, D, dtype=torch.float64))


X = np.random.default_rng(0).normal(size=(N, D)).astype("float32")


def mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


CONTAINERS = {
    "numpy": lambda _: X,
    "big-endian": lambda _: X.astype(">f4"),
    "transposed": lambda _: np.asfortranarray(X),
    "reversed twice": lambda _: X[::-1].copy()[::-1],
    "read-only": lambda _: np.frombuffer(X.tobytes(), "float32").reshape(X.shape),
    "mapped": mapped,
    "torch": lambda _: torch.tensor(X),
    "not contiguous": lambda _: torch.tensor(X.T.copy()).T,
    "requires a gradient": lambda _: torch.tensor(X, requires_grad=True),
    "tuple": lambda _: (torch.tensor(X),),
    "lists": lambda _: X.tolist(),
    "table": lambda _: pd.DataFrame(X),
    "sparse": lambda _: scipy.sparse.csr_array(X),
    "sparse tensor": lambda _: torch.tensor(X).to_sparse(),
    "tensor data set": lambda _: TensorDataset(torch.tensor(X)),
    "split": lambda _: pv.datasets.from_arrays(X).train,
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_gives_the_same_numbers(kind, tmp_path):
    x = CONTAINERS[kind](tmp_path)
    vae = pair()
    assert torch.equal(take_batch(vae, x)[0].detach(), torch.tensor(X))
    assert torch.equal(take_batch(vae, take_data(vae, x))[0], torch.tensor(X))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([torch.randn(N, D), torch.randn(N, D)], r"list of 2 of type Tensor.*tuple\(…\).*torch\.stack"),
        ([np.zeros(D)] * N, r"list of 12 of type ndarray"),
        (DataLoader(TensorDataset(torch.randn(N, D))), "DataLoader"),
        ("x.npy", "Got str as data, expected an array"),
        (np.zeros((N, D), complex), "complex"),
        (np.full((N, D), "a"), "expected numbers"),
        ([["a"] * D] * N, "expected numbers"),
        ([[1.0, 2.0], [1.0]], "same shape"),
        (np.array([[1, None]]), "dtype object"),
        (pv.datasets.from_arrays(X, 2), "a whole data set, expected one part of it"),
        (np.full((N, D), 2**63, "uint64"), "above 2⁶³ − 1"),
    ],
    ids=range(11),
)
def test_the_same_is_refused_at_every_door(door, x, message):
    if door == "fit" and hasattr(x, "splits"):
        pytest.skip("fit takes whole data sets")
    with pytest.raises(DataError, match=message):
        DOORS[door](pair(), x)


@pytest.mark.parametrize("door", [d for d in DOORS if d not in ("terms", "check")])
def test_one_datum_without_its_data_axis(door):
    with pytest.raises(DataError, match=r"Got data of shape \(3,\), expected a first axis over data.*x\[None\]"):
        DOORS[door](pair(), torch.randn(D))


@pytest.mark.parametrize("door", [d for d in DOORS if d != "terms"])
def test_programs_that_need_floats_say_so(door):
    with pytest.raises(PplVaeError, match=r"Got x of int64, expected floats.*give x\.float\(\)"):
        DOORS[door](pair(), torch.ones(N, D, dtype=torch.int64))


def test_further_arguments_pass_in_a_batch():
    lengths = pack_sequence([torch.zeros(2), torch.zeros(1)])
    batch = (torch.zeros(2, D), None, 0.5, lengths, {"a": 1}, "name", [1, 2])
    taken = as_batch(batch)
    assert all(a is b for a, b in zip(taken[:6], batch[:6], strict=True))
    assert torch.equal(taken[6], torch.tensor([1, 2]))
    whole = (torch.zeros(2, D), None)
    assert as_batch(whole) is whole


def test_gradients_flow_through_a_batch():
    x = torch.randn(N, D, requires_grad=True)
    pv.terms(pair(), x).elbo.backward()
    assert x.grad is not None


def test_entries_of_a_tuple_have_one_length():
    with pytest.raises(DataError, match=r"12 data in data\[0\] and 3 in data\[1\]"):
        as_split((X, np.zeros(3)))
    with pytest.raises(DataError, match=r"single number as data.1."):
        as_split((X, 0.5))


def test_programs_may_write_on_what_they_get(tmp_path):
    x = mapped(tmp_path)

    def model(x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.add_(1.0)[:, 0])

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(pyro.param("a", torch.tensor(0.0)), 1.0))

    pv.evaluate(pv.VAE(model, guide), x, num_particles=2)
    assert np.array_equal(x, X)


def test_whole_numbers_above_the_digits_of_floats_are_told():
    big = torch.full((N, D), 2**24 + 1)
    with pytest.warns(DataWarning, match=r"whole numbers up to 16777217 in x, expected at most 16777216"):
        pv.evaluate(tokens_free(), big, num_particles=2)
    with pytest.warns(DataWarning, match="float32"):
        pv.evaluate(pair(), big.double(), num_particles=2)


@pytest.mark.filterwarnings("error")
def test_whole_numbers_that_floats_hold_are_not_told():
    pv.evaluate(pair(), torch.full((N, D), 2.0**24), num_particles=2)
    pv.evaluate(pair(None, torch.float64), torch.full((N, D), 2.0**30, dtype=torch.float64), num_particles=2)
    pv.evaluate(pair(), 2**25 * torch.rand(N, D, dtype=torch.float64), num_particles=2)


def tokens_free():
    """Counts of any size."""
    rate = nn.Parameter(torch.tensor(0.0))

    def model(x):
        pyro.module("rate", holder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Poisson((holder.rate + z).exp().unsqueeze(-1).expand(*z.shape, D)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", x.shape[0]):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    holder = nn.Module()
    holder.rate = rate
    return pv.VAE(model, guide)


@pytest.mark.parametrize("name", ["batch", "splits", "read", "toarray", "to_numpy", "tensors", "train"])
def test_a_column_may_be_called_like_anything(name):
    """A table of pandas has its columns as attributes: what it is, its type says."""
    values = np.random.default_rng(0).normal(size=(N, D)).astype("float32")
    table = pd.DataFrame(values, columns=[name, "tocsr", "validation"])
    assert pv.datasets.from_arrays(table).spec.feature_names == (name, "tocsr", "validation")
    assert torch.equal(as_split(table).batch()[0], torch.from_numpy(values))
    assert torch.equal(as_batch(table)[0], torch.from_numpy(values))
    codes = pv.encode(pair(), table)["z"].loc
    assert torch.equal(codes, pv.encode(pair(), values)["z"].loc)
    pv.fit(pair(), table, epochs=1, progress=False)
