"""What a finished run is good for: recommendations, files for a server, and a look at its results."""

from recbole_nasr.serving.recommender import Recommender, TopK, load

__all__ = ["Recommender", "TopK", "load"]
