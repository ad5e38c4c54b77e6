"""Who can reach this server: where others can, paths are opened from the folders alone that its owner named."""

import ipaddress
import os

import streamlit as st

from projlens_core.runtime.roots import ROOTS


def close() -> None:
    """On a server that others can reach, open no paths unless its owner named roots; called first, by the router."""
    if not is_loopback(st.get_option("server.address")):
        os.environ.setdefault(ROOTS, "")


def is_loopback(address: str | None) -> bool:
    """Whether a server at this address serves its own machine alone; without an address it serves everyone."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:  # a name, or a socket's path: whoever may be behind it
        return False
