"""What one value of a configuration, or one file of a data set, is checked for before any work starts."""
