"""The search: train each block of the supernet, rank its paths, keep the best, go on (paper §3.2-3.3), and variants."""

from recbole_nasr.search.given import GivenScores, check_all_ranked, score_architectures
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.search.run import search
from recbole_nasr.search.sequences import SearchSequences, hold_out
from recbole_nasr.search.settings import SearchSettings

__all__ = [
    "BlockRanking",
    "GivenScores",
    "SearchProblem",
    "SearchResult",
    "SearchSequences",
    "SearchSettings",
    "check_all_ranked",
    "hold_out",
    "score_architectures",
    "search",
]
