"""How mini was made: data, config, and the program as it ran."""
