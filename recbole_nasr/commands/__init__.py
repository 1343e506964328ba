"""The commands: models to run, studies, help."""
