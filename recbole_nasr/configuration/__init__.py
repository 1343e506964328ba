"""Configuration: shipped YAML, default values, keys that mean something, and the page that describes them."""
