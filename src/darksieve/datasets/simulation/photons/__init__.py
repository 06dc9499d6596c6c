"""Searches in photons alone: e+e- → γa and its backgrounds."""
