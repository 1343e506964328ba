"""The presentation of finished runs: tables, figures, reports, the last screen."""
