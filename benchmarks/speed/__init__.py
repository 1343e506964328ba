"""The speed of the package, beside what the machine allows, RecBole, and the published code."""
