"""The verbs: pure functions from a command and facts to a plan; no I/O."""
