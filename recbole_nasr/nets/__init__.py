"""Networks: the plain network of one architecture, and the supernet of all architectures of a space."""

from recbole_nasr.nets.embedding import SequenceEmbedding
from recbole_nasr.nets.hybrid import HybridNet
from recbole_nasr.nets.next_item import NextItemHead, last_real
from recbole_nasr.nets.output import TiedOutput
from recbole_nasr.nets.siamese import Predictor, Projector, masked_mean, per_path
from recbole_nasr.nets.supernet import MixedOp, Supernet

__all__ = [
    "HybridNet",
    "MixedOp",
    "NextItemHead",
    "Predictor",
    "Projector",
    "SequenceEmbedding",
    "Supernet",
    "TiedOutput",
    "last_real",
    "masked_mean",
    "per_path",
]
