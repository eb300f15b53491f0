"""Training networks of the family on songs and voices."""
