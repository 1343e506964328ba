from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.space import Architecture

operation_names = st.one_of(
    st.sampled_from(["gru4rec", "gru", "lru", "skip", "ffn"]),
    st.builds("{}{}".format, st.sampled_from(["transformer_h", "ligr_h", "hstu_h", "dwconv_k"]), st.integers(1, 9999)),
    st.lists(st.integers(1, 9999), min_size=1, max_size=4).map(lambda d: "tcn_d" + "_".join(map(str, d))),
)
architectures = st.lists(st.lists(operation_names, min_size=1, max_size=6).map(tuple), min_size=1, max_size=5).map(
    lambda blocks: Architecture(tuple(blocks))
)


@given(architectures)
def test_text_json_and_lists_give_back_the_architecture(architecture: Architecture) -> None:
    assert Architecture.parse(str(architecture)) == architecture
    assert Architecture.from_json(architecture.to_json({"score": 1.5})) == architecture
    assert Architecture.from_nested(architecture.to_nested()) == architecture
    assert hash(Architecture.from_nested(architecture.to_nested())) == hash(architecture)


@given(architectures)
def test_a_file_gives_back_the_architecture(tmp_path: Path, architecture: Architecture) -> None:
    architecture.save(tmp_path / "a.json", {"by": "test"})
    assert Architecture.load(tmp_path / "a.json") == architecture
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_says_what_it_is() -> None:
    content = json.loads(Architecture.parse("gru4rec/tcn_d1").to_json({"seed": 3}))
    assert content == {
        "schema": "recbole-nasr/architecture",
        "schema_version": 1,
        "blocks": [["gru4rec"], ["tcn_d1"]],
        "metadata": {"seed": 3},
    }


def test_layers_run_through_the_blocks_and_spaces_do_not_matter() -> None:
    architecture = Architecture.parse(" tcn_d1 , gru4rec / transformer_h4")
    assert architecture.layers == ("tcn_d1", "gru4rec", "transformer_h4")
    assert str(architecture) == "tcn_d1,gru4rec/transformer_h4"


def test_a_flat_list_is_one_block() -> None:
    assert Architecture.from_nested(["tcn_d1", "gru4rec"]).blocks == (("tcn_d1", "gru4rec"),)


@pytest.mark.parametrize("value", [None, 12, "tcn_d1", [], [1], [["tcn_d1"], "gru4rec"], [[1]], {"a": 1}])
def test_anything_but_lists_of_names_is_refused(value: object) -> None:
    with pytest.raises(ArchitectureError, match="must be a list of operation names"):
        Architecture.from_nested(value)


@pytest.mark.parametrize("blocks", [(), ((),), (("gru4rec",), ())])
def test_empty_blocks_are_refused(blocks: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ArchitectureError, match="at least one block, and every block at least one layer"):
        Architecture(blocks)


@pytest.mark.parametrize("text", ["", "tcn_d1,", "tcn_d1//gru4rec", "0123"])
def test_text_with_missing_or_unknown_names_is_refused(text: str) -> None:
    with pytest.raises(ArchitectureError, match="known families"):
        Architecture.parse(text)


def test_at_most_1024_layers() -> None:
    assert len(Architecture((("gru4rec",) * 1024,)).layers) == 1024
    with pytest.raises(ArchitectureError, match="at most 1024 layers, but got 1025"):
        Architecture((("gru4rec",) * 1025,))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", '"schema"'),
        ('{"schema": "other"}', '"schema"'),
        (
            '{"schema": "recbole-nasr/architecture", "schema_version": 2}',
            "newer version of recbole-nasr .schema_version 2, this one reads up to 1",
        ),
        ('{"schema": "recbole-nasr/architecture", "schema_version": 1}', "list of operation names"),
    ],
)
def test_other_files_are_refused_and_named(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArchitectureError, match=rf"a\.json: .*{reason}"):
        Architecture.load(path)


def test_files_that_cannot_be_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="cannot be read"):
        Architecture.load(tmp_path / "missing.json")
    with pytest.raises(ArchitectureError, match="cannot be read"):
        Architecture.load(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArchitectureError, match="cannot be read"):
        Architecture.load(tmp_path / "bytes")
    (tmp_path / "big").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(ArchitectureError, match="at most 1 MiB"):
        Architecture.load(tmp_path / "big")


@given(architectures, st.integers(1, 4))
def test_a_multiple_of_the_layers_repeats_each_in_its_block(architecture: Architecture, times: int) -> None:
    deeper = architecture.stretched(times * len(architecture.layers))
    assert deeper.blocks == tuple(tuple(name for name in block for _ in range(times)) for block in architecture.blocks)


@given(architectures, st.integers(1, 40))
def test_stretching_keeps_the_order_and_the_first_layer(architecture: Architecture, n_layers: int) -> None:
    other = architecture.stretched(n_layers)
    assert len(other.layers) == n_layers
    assert other.layers[0] == architecture.layers[0]
    remaining = iter(architecture.layers)
    short = n_layers <= len(architecture.layers)
    assert all(name in remaining for name in other.layers) if short else set(other.layers) == set(architecture.layers)


def test_a_shallower_network_drops_blocks_of_which_nothing_is_left() -> None:
    architecture = Architecture.parse("transformer_h4,transformer_h8/tcn_d1_2/tcn_d1_4,skip")
    assert str(architecture.stretched(2)) == "transformer_h4/tcn_d1_2"
    with pytest.raises(ArchitectureError, match="has 1 to 1024 layers, but n_layers is 0"):
        architecture.stretched(0)
