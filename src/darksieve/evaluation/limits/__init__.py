"""The limit tool: thousands of mass hypotheses as one batch."""
