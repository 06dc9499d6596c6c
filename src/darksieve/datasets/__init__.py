"""Files and generators in, Events out."""
