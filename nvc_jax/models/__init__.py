"""The networks, as data and as Flax modules; they know nothing of files, containers or the host coder."""
