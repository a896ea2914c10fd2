"""What the `mmrag` command is made of."""
