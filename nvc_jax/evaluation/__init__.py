"""Rate, distortion, BD-rates and complexity of models."""
