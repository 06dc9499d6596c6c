"""Packaged presets, one YAML file per search."""
