"""First evidence: what was changed. Reads projector tensors only, runs no model."""
