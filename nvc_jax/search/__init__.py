"""AE-NAS: which parts of a trained codec's decoder to make smaller, without training every whole candidate."""
