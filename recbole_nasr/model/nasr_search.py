"""``NASRSearch``: searches an architecture, then is the network it found."""

from __future__ import annotations

from recbole_nasr.model.nasr import NASR
from recbole_nasr.model.presets import resolve_architecture
from recbole_nasr.model.settings import cost_limits, layer_settings, search_settings, search_space, strategy_settings
from recbole_nasr.ops import check_own
from recbole_nasr.space import Architecture


class NASRSearch(NASR):
    """The same model with a search before its training, run by its trainer.

    Until then the network is that of the first architecture of the space, so that RecBole can count FLOPs; the
    key ``architecture`` is empty. The trainer then calls :meth:`become` and writes the key, and a checkpoint
    therefore loads as the network that was found.
    """

    def initial_architecture(self) -> Architecture:
        """Return the architecture found, or the first of the space before the search."""
        for read in (search_settings, strategy_settings, cost_limits):  # a bad key must fail now, not after the search
            read(self.config)
        space = search_space(self.config)
        check_own(space.operations, layer_settings(self.config))
        if self.searched:
            return resolve_architecture(self.config["architecture"], self.config)
        return space.uniform(space.operations[0])

    @property
    def searched(self) -> bool:
        """Whether the architecture is known."""
        return self.config["architecture"] is not None

    def become(self, architecture: Architecture) -> None:
        """Turn into a freshly initialised network of ``architecture``, in place, and note it in the configuration."""
        self.config["architecture"] = architecture.to_nested()
        self.network = self.build_network(architecture).to(self.device)
