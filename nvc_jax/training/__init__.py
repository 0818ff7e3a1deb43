"""Training: the same model code with a differentiable quantiser (D8)."""
