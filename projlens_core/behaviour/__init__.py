"""Third evidence: what the model then says. Runs the language model."""
