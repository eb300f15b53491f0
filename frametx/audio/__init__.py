"""Reading songs and writing stems."""
