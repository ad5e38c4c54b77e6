"""Reads untrusted images and stamps triggers on them."""
