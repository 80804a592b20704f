"""One file a rule of the linter: what it looks at, and what it says."""
