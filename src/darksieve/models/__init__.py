"""What gives an event a score."""
