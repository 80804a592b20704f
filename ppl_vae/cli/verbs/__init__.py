"""One file a verb: `run(cfg, context) -> Result`, imported only when the verb runs."""
