"""Several processes that work on one run: how they start, on which GPUs, and what RecBole needs for them."""
