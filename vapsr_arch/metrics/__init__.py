"""Metrics of images beside BasicSR's, and calling them."""
