"""Tries a runcue pipeline before it costs money. See docs/simulator.md."""
