"""One way from a program to what runs in its place: recorded as a graph, verified, compiled where that pays."""
