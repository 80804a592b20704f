"""scvi-tools: its SCVI on given cells; prints the bound and the evidence per held-out cell.

Runs without this package. The two are worked out here from the log-weights of draws, as `pv.evaluate` does it; what
scvi-tools' own `get_elbo` and `get_marginal_ll` say comes after them.
"""

import json
import sys
import warnings

import anndata
import numpy as np
import scvi
import torch

warnings.simplefilter("ignore")
told = json.loads(sys.argv[1])
torch.set_num_threads(1)
scvi.settings.seed = told["seed"]
scvi.settings.verbosity = 40
with np.load(told["cells"]) as file:
    counts, batch = file["counts"], file["batch"].astype(str)
cells = anndata.AnnData(counts, obs={"batch": batch})
train, test = cells[: told["train"]].copy(), cells[told["train"] :].copy()
scvi.model.SCVI.setup_anndata(train, batch_key="batch")
model = scvi.model.SCVI(
    train,
    n_hidden=128,
    n_latent=10,
    n_layers=1,
    dropout_rate=0.0,
    dispersion=told["dispersion"].replace("_", "-"),
    gene_likelihood=told["likelihood"],
    use_batch_norm="none",
    use_layer_norm="none",
)
plan = {"lr": 1e-3, "weight_decay": 0.0, "eps": 1e-8, "n_epochs_kl_warmup": None}
model.train(
    max_epochs=told["epochs"],
    accelerator="cpu",
    train_size=1.0,
    batch_size=told["batch"],
    plan_kwargs=plan,
    enable_progress_bar=False,
    logger=False,
    enable_checkpointing=False,
)
module = model.module.eval()
x = torch.as_tensor(test.X)
codes = {name: code for code, name in enumerate(sorted(set(batch)))}  # as scvi-tools sorts categories
index = torch.tensor([codes[name] for name in test.obs["batch"]])[:, None]
torch.manual_seed(told["seed"])
weights = []
with torch.no_grad():
    for _ in range(told["particles"]):
        seen = module.inference(x=x, batch_index=index)
        made = module.generative(z=seen["z"], library=seen["library"], batch_index=index)
        log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(seen["z"]).sum(1)
        log_guide = seen["qz"].log_prob(seen["z"])
        log_guide = log_guide.sum(1) if log_guide.ndim == 2 else log_guide
        weights.append(made["px"].log_prob(x).sum(1) + log_prior - log_guide)
log_weights = torch.stack(weights).double()
evidence = log_weights.logsumexp(0) - np.log(told["particles"])
own = [-float(model.get_elbo(test)), float(model.get_marginal_ll(test, n_mc_samples=told["particles"]))]
print(json.dumps([float(log_weights.mean()), float(evidence.mean()), *own]))
