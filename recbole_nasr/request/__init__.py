"""What a command asks for: its words, the runs they stand for, and everything that can be wrong with them."""
