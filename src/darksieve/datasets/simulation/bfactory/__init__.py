"""e+e- at the Υ(4S): continuum, BB and B decays to a light particle, in a toy detector."""
