"""Features computed from four-vectors: the shape of the event around a candidate."""
