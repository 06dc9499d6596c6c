"""Displaced vertices: a dark Higgs boson with inelastic dark matter, and what looks like it."""
