"""Training steps and tiles captured as graphs, held to the program's own bits, and compiled where that pays."""
