"""What can be searched: architectures and the table they come from. Nothing here uses torch itself."""

from recbole_nasr.space.architecture import Architecture
from recbole_nasr.space.search_space import Path, SearchSpace

__all__ = ["Architecture", "Path", "SearchSpace"]
