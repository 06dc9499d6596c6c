"""The chain of a run: one module a stage, each taking the type before it."""
