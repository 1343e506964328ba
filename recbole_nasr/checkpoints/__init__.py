"""Reading the pickles that RecBole saves, without running what they name."""
