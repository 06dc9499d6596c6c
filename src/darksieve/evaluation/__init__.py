"""What scores are worth: metrics, working points, limits, plots, report."""
