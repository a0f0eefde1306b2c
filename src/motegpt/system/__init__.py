"""What the operating system and the machine provide."""
