"""The dashboard: pages over the core's results. The core never imports it."""
