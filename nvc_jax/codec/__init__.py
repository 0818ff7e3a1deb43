"""Where models, entropy coder, containers and video files meet."""
