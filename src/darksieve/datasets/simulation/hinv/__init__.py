"""B → h X with X invisible and a hadronic tag: a toy whose tag side is a stand-in for a full reconstruction."""
