"""Second evidence: what the change does to image tokens. Runs vision tower and projectors."""
