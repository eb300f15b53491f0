"""The networks, one architecture a file, and how a checkpoint becomes one."""
