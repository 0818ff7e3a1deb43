"""Convert official PyTorch checkpoints to model directories and back, without PyTorch."""
