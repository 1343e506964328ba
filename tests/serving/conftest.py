from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from recbole_nasr.commands.cli import main

SMALL = ("--epochs=2", "--hidden_size=8", "--MAX_ITEM_LIST_LENGTH=4", "--device=cpu", "--topk=[5, 10, 20]", "--seed=3")
N_ITEMS, N_USERS, LENGTH = 30, 25, 8


def item_of(user: int, step: int) -> str:
    return f"i{(7 * user + step * step) % N_ITEMS}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Runs of NASR and SASRec on 25 histories of 8 items with titles, and their data; read only."""
    place = tmp_path_factory.mktemp("serving")
    folder = place / "data" / "toy"
    folder.mkdir(parents=True)
    rows = [f"u{user}\t{item_of(user, step)}\t{step}" for user in range(N_USERS) for step in range(LENGTH)]
    (folder / "toy.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    titles = [f"i{item}\tThe number {item}" for item in range(N_ITEMS)]
    (folder / "toy.item").write_text("\n".join(["item_id:token\tfilm_title:token_seq", *titles]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pytest"])
        words = ["--dataset=toy", f"--data_path={place / 'data'}", f"--runs_dir={place / 'runs'}", *SMALL]
        assert main(["--model=NASR", "--architecture=transformer_h2,tcn_d1_2", *words]) == 0
        assert main(["--model=SASRec", "--n_heads=2", "--inner_size=8", *words]) == 0
    runs = {path.name.split("-")[-1]: path for path in (place / "runs" / "toy").iterdir()}
    return SimpleNamespace(
        place=place, data=place / "data", runs_dir=place / "runs", nasr=runs["NASR"], sasrec=runs["SASRec"]
    )


@pytest.fixture
def own_copy(trained: SimpleNamespace, tmp_path: Path) -> Path:
    """A copy of the NASR run that a test may change."""
    return Path(shutil.copytree(trained.nasr, tmp_path / "runs" / "toy" / trained.nasr.name))
