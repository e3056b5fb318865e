"""What the command line is made of: what it takes, what it says, and the commands beside `run` and `plan`."""
