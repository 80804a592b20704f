"""A model and data small enough to train in an instant."""

DATA = ("dataset=ppca", "dataset.num_data=60", "dataset.columns=3")
NETWORKS = ("model.latent_dim=2", "model.hidden=[4]", "guide.hidden=[4]")
TRAINING = (
    "trainer.epochs=2",
    "trainer.batch_size=16",
    "results.figures=false",
    "results.posterior=false",
    "results.num_particles=8",
)
SMALL = (*DATA, *NETWORKS, *TRAINING)
