"""Export of trained models for use without this package."""
