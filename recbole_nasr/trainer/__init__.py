"""Trainers RecBole finds by name: ``NASRTrainer`` and ``NASRSearchTrainer``; exact ranks by counting."""
