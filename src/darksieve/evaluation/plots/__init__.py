"""Pictures: plain arrays in, one figure and the numbers it shows out. Nothing is fitted here."""
