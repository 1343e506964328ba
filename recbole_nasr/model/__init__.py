"""The models RecBole sees: ``NASR`` and ``NASRSearch``."""
