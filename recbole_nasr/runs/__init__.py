"""One run: its checks, its data, its steps, its folder, and its results."""
