"""Is this guide any good? Evidence, k̂, latent units, calibration; all in nats per datum."""
