"""Getting bytes from where they are: http(s) servers, public MEGA links and the disk."""
