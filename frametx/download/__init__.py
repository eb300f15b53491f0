"""Getting bytes from where they are: http(s) servers and public MEGA links."""
