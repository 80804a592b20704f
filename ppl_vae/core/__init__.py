"""A pair run on a batch: programs, plates, particles and sites, and the terms that every number is made of."""
