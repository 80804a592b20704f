"""Markov chains over the latents of a pair: Hamiltonian transitions, annealing, refined posterior draws."""
