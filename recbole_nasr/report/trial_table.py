"""The table of all trials of `tune`: settings and validation score, to show what the best was chosen from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from recbole_nasr.alignment import as_markdown
from recbole_nasr.progress import plural
from recbole_nasr.studies.plan import value_text

_OVER = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}


def trial_table(trials: Sequence[FrozenTrial]) -> str:
    """Return the finished trials as Markdown, in order; empty if there are none.

    Trials that were killed or interrupted are left out: they are run again under another number.
    """
    over = [trial for trial in trials if trial.state in _OVER and (trial.state != TrialState.FAIL or _failed(trial))]
    if not over:
        return ""
    names = list(dict.fromkeys(name for trial in over for name in trial.params))
    counts = Counter(_OVER[trial.state] for trial in over)
    told = ", ".join(f"{counts[what]} {what}" for what in _OVER.values() if counts[what])
    note = (
        f"{len(over)} {plural(len(over), 'trial')}: {told}. Validation is the best score up to the epoch a trial "
        "came to."
    )
    if counts["finished"]:
        note += (
            " The results above are those of the finished trial that validated best, whose settings are in `best.yaml`;"
            " the test metrics of the others have no part here."
        )
    lines = [["trial", *names, "epochs", "validation", ""]]
    for trial in over:
        drawn = [value_text(trial.params.get(name, "")) for name in names]
        reported = trial.intermediate_values
        best = trial.value if trial.state == TrialState.COMPLETE else max(reported.values(), default=None)
        epochs = str(max(reported) + 1) if reported else ""
        lines.append([str(trial.number), *drawn, epochs, "" if best is None else f"{best:.4f}", _OVER[trial.state]])
    return f"{note}\n\n{as_markdown(lines, left=(len(names) + 3,))}"


def _failed(trial: FrozenTrial) -> bool:
    return "error" in trial.user_attrs
