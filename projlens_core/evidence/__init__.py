"""Brings the three kinds of evidence together in one case."""
