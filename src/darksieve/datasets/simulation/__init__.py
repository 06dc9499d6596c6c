"""Generators and detector response: a rehearsal, never Belle II simulation."""
