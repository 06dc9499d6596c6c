"""B → h X with X invisible and a hadronic tag: a toy, whose tag is a stand-in for a reconstruction."""
