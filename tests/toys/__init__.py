"""Analyses that tests add from outside."""
