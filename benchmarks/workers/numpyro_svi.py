"""NumPyro: a jitted `svi.update` per step, or one `lax.scan` over the batches of a block."""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, RenyiELBO, Trace_ELBO

from benchmarks.setups import Setup
from benchmarks.stand import begin, serve

arguments = begin()
setup = Setup.of(arguments["setup"])


def linear(name, inputs, outputs):
    """The weights of a layer."""
    bound = inputs**-0.5
    key = jax.random.PRNGKey(inputs)
    weight = numpyro.param(f"{name}.weight", jax.random.uniform(key, (inputs, outputs), minval=-bound, maxval=bound))
    bias = numpyro.param(f"{name}.bias", jnp.zeros(outputs))
    return lambda h: h @ weight + bias


def model(x):
    """p(z) p(x | z)."""
    hidden, out = linear("d1", setup.latent, setup.hidden), linear("d2", setup.hidden, 784)
    with numpyro.plate("data", x.shape[0]):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(setup.latent), 1.0).to_event(1))
        logits = out(jax.nn.relu(hidden(z)))
        numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def guide(x):
    """q(z | x)."""
    hidden, out = linear("e1", 784, setup.hidden), linear("e2", setup.hidden, 2 * setup.latent)
    loc, log_scale = jnp.split(out(jax.nn.relu(hidden(x))), 2, -1)
    with numpyro.plate("data", x.shape[0]):
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


numpyro.enable_validation(False)
loss = Trace_ELBO() if setup.particles == 1 else RenyiELBO(alpha=0, num_particles=setup.particles)
svi = SVI(model, guide, numpyro.optim.Adam(1e-3), loss)
batches = jnp.asarray(setup.data()).reshape(setup.batches, setup.batch, 784)
state = svi.init(jax.random.PRNGKey(0), batches[0])
update = jax.jit(svi.update)
scan = jax.jit(lambda state, batches: jax.lax.scan(svi.update, state, batches))
each = list(batches)


def steps():
    """One pass, step by step."""
    global state
    value = None
    for x in each:
        state, value = update(state, x)
    jax.block_until_ready((state, value))


def scanned():
    """One pass in one call."""
    global state
    state, values = scan(state, batches)
    jax.block_until_ready((state, values))


serve(scanned if arguments["scan"] else steps, setup.batches)
