"""Side-by-side timings of ppl_vae and its peers: `make bench`."""
