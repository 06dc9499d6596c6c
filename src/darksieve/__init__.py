"""darksieve: background suppression and mass-scan limits for dark-sector searches at B factories."""

__version__ = "0.1.0"
