"""What a person gets to see of finished runs: tables, figures, a short report, the last screen."""
