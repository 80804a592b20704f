"""Programs by search: a seeded generator of small random pairs, an exact oracle, a comparer and a shrinker."""
