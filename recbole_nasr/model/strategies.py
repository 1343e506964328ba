"""How a network is come by: by a search, by a search whose proposals are trained, or by training random networks."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_nasr.errors import ConfigError, did_you_mean

SEARCHING = ("nasr", "evolution")
"""Strategies that propose networks by the scores of a supernet."""

TRAINING = ("random", "halving", "predictor")
"""Strategies that train networks and need no supernet."""

TIMED = ("random", "predictor")
"""Strategies that can train for a time instead of a number of networks."""

MOST_NETWORKS = 10_000
"""That a search proposes for training, of each kind, or that are drawn for it."""


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """What is trained before a network is chosen, and for how long; the defaults are those of the keys.

    Args:
        strategy: ``nasr``, ``evolution``, ``random``, ``halving`` or ``predictor``.
        verify: Networks that a search proposes by score for training; 0 takes its own choice as it is.
        verify_ties: More of them from the tie.
        verify_random: Random networks beside them; with ``predictor``, beside the pure ones before it predicts.
        keep_pure: Whether networks of one operation are trained to the end whatever the halving says.
        networks: How many networks ``random``, ``halving`` and ``predictor`` train.
        seconds: Time after which ``random`` and ``predictor`` begin no further network; the number of networks does not
            count then.
        first_epochs: Epochs after which a network is first compared with others.
        factor: Of the networks that have come as far, one in ``factor`` goes on; the epochs grow by as much.
    """

    strategy: str = "nasr"
    verify: int = 0
    verify_ties: int = 2
    verify_random: int = 2
    keep_pure: bool = True
    networks: int = 10
    seconds: float | None = None
    first_epochs: int = 4
    factor: int = 2

    def __post_init__(self) -> None:
        names = (*SEARCHING, *TRAINING)
        if self.strategy not in names:
            hint = did_you_mean(self.strategy, names)
            msg = f"`search_strategy` must be one of {', '.join(names)}, but is {self.strategy!r}.{hint}"
            raise ConfigError(msg)
        rules = (
            (0 <= self.verify <= MOST_NETWORKS, "search_verify", f"in 0..{MOST_NETWORKS}", self.verify),
            (0 <= self.verify_ties <= MOST_NETWORKS, "search_verify_ties", f"in 0..{MOST_NETWORKS}", self.verify_ties),
            (
                0 <= self.verify_random <= MOST_NETWORKS,
                "search_verify_random",
                f"in 0..{MOST_NETWORKS}",
                self.verify_random,
            ),
            (1 <= self.networks <= MOST_NETWORKS, "search_networks", f"in 1..{MOST_NETWORKS}", self.networks),
            (self.seconds is None or self.seconds > 0, "search_time", "positive", self.seconds),
            (self.first_epochs >= 1, "halving_epochs", "at least 1", self.first_epochs),
            (self.factor >= 2, "halving_factor", "at least 2", self.factor),
        )
        broken = [f"`{key}` must be {rule}, but is {value!r}." for holds, key, rule, value in rules if not holds]
        if broken:
            raise ConfigError(" ".join(broken))
        if self.verify and self.strategy in TRAINING:
            msg = f"`search_verify` trains what a search proposes; `search_strategy: {self.strategy}` proposes nothing."
            raise ConfigError(msg)
        if self.seconds is not None and self.strategy not in TIMED:
            timed = " or ".join(TIMED)
            msg = f"`search_time` is for `search_strategy: {timed}`, but that is {self.strategy}; drop one of the two."
            raise ConfigError(msg)

    @property
    def searches(self) -> bool:
        """Whether a supernet proposes networks."""
        return self.strategy in SEARCHING

    @property
    def trains(self) -> bool:
        """Whether several networks are trained before one is chosen."""
        return self.verify > 0 or self.strategy in TRAINING

    @property
    def halves(self) -> bool:
        """Whether networks that fall behind are stopped."""
        return self.strategy not in TIMED

    def check_predictions(self, n_pure: int) -> None:
        """Refuse a ``predictor`` that would have trained as many networks as it may before its first prediction.

        Args:
            n_pure: Pure networks of the space that are within the budget.

        Raises:
            ConfigError: If that is so.
        """
        first = n_pure + self.verify_random
        if self.strategy == "predictor" and self.seconds is None and self.networks <= first:
            msg = (
                f"`search_networks` must be more than {first}, the pure networks ({n_pure}) and random ones "
                f"(`search_verify_random`={self.verify_random}) that are trained before the first prediction, but is "
                f"{self.networks}; raise it."
            )
            raise ConfigError(msg)

    def rungs(self, epochs: int, eval_step: int = 1) -> list[int]:
        """Return the epochs after which networks are compared, of a training of ``epochs`` at most.

        That is when they are validated, every ``eval_step`` epochs: two comparisons may come after one epoch.
        """
        found, rung = [], self.first_epochs
        while self.halves and (validated := -(-rung // eval_step) * eval_step) < epochs:
            found.append(validated)
            rung *= self.factor
        return found

    def planned_epochs(self, epochs: int, *, n_kept: int, n_others: int, eval_step: int = 1) -> int:
        """Return the epochs that the trainings take if none stops early and one in ``factor`` goes on.

        Args:
            epochs: Of one training, at most.
            n_kept: Networks trained to the end.
            n_others: Networks that may be stopped.
            eval_step: Epochs between two validations.
        """
        ends = [*self.rungs(epochs, eval_step), epochs]
        total, active, before = n_kept * epochs, n_others, 0
        for end in ends:
            total += active * (end - before)
            active, before = -(-active // self.factor), end
        return total
