"""Between official PyTorch checkpoints and model directories, without PyTorch."""
