from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_nasr.errors import ArchitectureError, ConfigError, DataError, NASRError
from recbole_nasr.request import defaults, preflight
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.request.preflight import check_request, sequential_models
from recbole_nasr.request.request import build_request
from recbole_nasr.runs import checking
from recbole_nasr.runs.checking import prepare_data

HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"
ROWS = "".join(f"u\ti{item}\t{item}\n" for item in range(5))

_SPLIT = "'split':{'LS':'valid_and_test'},'order':'TO','group_by':'user'"
SAMPLED_TEST = f"{{{_SPLIT},'mode':{{'valid':'full','test':'uni30'}}}}"
MASKING = "`mask_history` works with full ranking"
SAMPLED = f"{{{_SPLIT},'mode':'uni30'}}"
PARTS = "`eval_args` must leave cases to train, validate and test with"
LABELED = f"{{{_SPLIT},'mode':'labeled'}}"


def check(*words: str, models: str = "SASRec", dataset: str = "toy") -> dict[str, dict[str, Any]]:
    return check_request(
        build_request(parse_line([f"--model={models}", f"--dataset={dataset}", "--data_path=data", *words]))
    )


@pytest.fixture(autouse=True)
def data(toy: Path) -> Path:
    return toy


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_all_models_are_measured_the_same_way() -> None:
    settings = check(models="SASRec,NASR,NASRSearch")
    for keys in settings.values():
        assert keys["metrics"] == ["NDCG", "Recall"]
        assert keys["topk"] == [10, 20]
        assert keys["valid_metric"] == "NDCG@20"
        assert keys["metric_decimal_place"] == 8


def test_what_the_user_sets_outranks_the_defaults_of_the_command_line() -> None:
    keys = check("--metrics=['Recall']", "--topk=5")["SASRec"]
    assert (keys["metrics"], keys["topk"], keys["valid_metric"]) == (["Recall"], 5, "Recall@5")


def test_a_metric_without_a_cut_may_choose_the_epoch() -> None:
    assert check("--metrics=[NDCG,GAUC]", "--topk=[5]", "--valid_metric=gauc")["SASRec"]["valid_metric"] == "gauc"
    assert check("--metrics=[GAUC]", "--topk=[5]")["SASRec"]["valid_metric"] == "GAUC"
    with pytest.raises(ConfigError, match=r"one of the metrics measured, NDCG@5, GAUC, but is GAUC@5"):
        check("--metrics=[NDCG,GAUC]", "--topk=[5]", "--valid_metric=GAUC@5")


@pytest.mark.parametrize("model", ["DIN", "DIEN"])
def test_models_that_recbole_measures_by_other_metrics_are_measured_like_the_others(model: str) -> None:
    assert check(models=model)[model]["metrics"] == ["NDCG", "Recall"]
    assert check("--metrics=[AUC]", f"--eval_args={SAMPLED}", models=model)[model]["valid_metric"] == "AUC"


def test_filters_of_recbole_are_intervals_as_recbole_writes_them() -> None:
    for text in ("[5,inf)", "[2, 10]", "(0,3];[5,9)", "[0,inf)"):
        check(f"--user_inter_num_interval={text}", f"--item_inter_num_interval={text}")


def test_a_key_of_one_model_does_not_disturb_the_others() -> None:
    settings = check("--n_heads=4", "--kernel_size=3", models="SASRec,NASR")
    assert ("n_heads" in settings["SASRec"], "n_heads" in settings["NASR"]) == (True, False)
    assert ("kernel_size" in settings["SASRec"], "kernel_size" in settings["NASR"]) == (False, True)


def test_a_key_with_the_name_of_a_model_is_for_that_model_alone() -> None:
    settings = check("--epochs=7", "--SASRec.epochs=3", "--NASR.architecture=sasrec-2", models="SASRec,NASR")
    assert (settings["SASRec"]["epochs"], settings["NASR"]["epochs"]) == (3, 7)
    assert settings["NASR"]["architecture"] == "sasrec-2"
    with pytest.raises(ConfigError, match=r"'NASRR', but this runs SASRec, NASR\. Did you mean 'NASR'"):
        check("--NASRR.epochs=3", models="SASRec,NASR")
    with pytest.raises(ConfigError, match=r"'SASRec\.kernel_size', .* is not a configuration key of SASRec"):
        check("--SASRec.kernel_size=3", models="SASRec,NASR")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ([f"--SASRec.eval_args={SAMPLED}"], "SASRec.eval_args"),
        (["--NASR.source=events.csv"], "NASR.source"),
        (["--SASRec.split_by=time"], "SASRec.split_by"),
        (["--SASRec.user_inter_num_interval=[5,inf)"], "SASRec.user_inter_num_interval"),
        (["--SASRec.load_col={'inter':['user_id','item_id','timestamp']}"], "SASRec.load_col"),
        (["--NASR.topk=[5]"], "NASR.topk"),
        (["--SASRec.encoding=latin-1"], "SASRec.encoding"),
        (["--SASRec.tail_ratio=0.2", "--metrics=[NDCG,TailPercentage]"], "SASRec.tail_ratio"),
        (["--config_files=own.yaml"], "SASRec.eval_args"),
    ],
)
def test_the_models_of_a_comparison_have_the_same_data_and_test_cases(
    tmp_path: Path, words: list[str], key: str
) -> None:
    (tmp_path / "own.yaml").write_text("SASRec.eval_args: {split: {LS: valid_and_test}, order: TO, mode: uni5}\n")
    name = key.partition(".")[2]
    message = rf"`{key}` .* all models of a comparison, .*give `{name}` without the model's name"
    with pytest.raises(ConfigError, match=message):
        plan(*words, models="SASRec,NASR")


def test_keys_of_one_model_that_leave_the_test_cases_alone_are_allowed() -> None:
    words = ["--SASRec.MAX_ITEM_LIST_LENGTH=5", "--NASR.eval_batch_size=7", "--SASRec.train_scheme=autoregressive"]
    sasrec, nasr = plan(*words, "--NASR.valid_metric=NDCG@10", "--NASR.seed=3", models="SASRec,NASR")
    assert (sasrec.settings["MAX_ITEM_LIST_LENGTH"], nasr.settings["eval_batch_size"]) == (5, 7)
    assert (sasrec.settings["valid_metric"], nasr.settings["valid_metric"]) == ("NDCG@20", "NDCG@10")


def test_the_only_model_of_a_command_may_be_named_before_any_key() -> None:
    (alone,) = plan(f"--NASR.eval_args={SAMPLED}", "--NASR.topk=[5]", models="NASR")
    assert (alone.settings["eval_args"]["mode"], alone.settings["topk"]) == ("uni30", [5])
    quick = quick_plan("--NASRSearch.topk=[5]")
    assert [run.settings["topk"] for run in quick] == [[5]] * 4


@pytest.mark.parametrize("key", ["dataset", "model", "config_files", "runs_dir", "device", "quick"])
@pytest.mark.parametrize("models", ["SASRec", "SASRec,NASR"])
def test_a_key_of_the_whole_command_is_refused_with_the_name_of_a_model(key: str, models: str) -> None:
    message = rf"`SASRec\.{key}` cannot be .*, but is 'toy'.* --{key}=toy without the model's name"
    with pytest.raises(ConfigError, match=message):
        check(f"--SASRec.{key}=toy", models=models)


@pytest.mark.parametrize("key", ["dataset", "model", "config_files"])
def test_the_settings_of_a_run_name_no_other_model_or_data(key: str) -> None:
    settings = check()["SASRec"]
    with pytest.raises(ConfigError, match=f"`{key}` is given with the command .* where it is 'other'; leave it out"):
        checking.check_run("SASRec", "toy", {**settings, key: "other"})


def test_a_configuration_file_that_names_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("config_files: b.yaml\n")
    with pytest.raises(ConfigError, match=r"`config_files` is given with the command .* 'b\.yaml'"):
        check("--config_files=a.yaml")


def test_cross_entropy_models_of_recbole_get_no_negative_samples() -> None:
    settings = check(models="SASRec,FPMC")
    assert settings["SASRec"]["train_neg_sample_args"] is None
    assert "train_neg_sample_args" not in settings["FPMC"]
    assert "train_neg_sample_args" not in check("--loss_type=BPR")["SASRec"]


def test_quick_settings_yield_to_the_command_line_but_not_to_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("epochs: 50\nn_blocks: 3\n")
    keys = check("--quick", "--config_files=a.yaml", "--n_layers=6", models="NASRSearch")["NASRSearch"]
    quick = defaults.QUICK["NASRSearch"]
    assert keys["n_layers"] == 6
    assert (keys["epochs"], keys["n_blocks"]) == (quick["epochs"], quick["n_blocks"])


def test_every_quick_setting_is_a_key_of_its_model() -> None:
    for model in ("NASRSearch", "NASR", "GRU4Rec"):
        keys = check("--quick", models=model)[model]
        assert defaults.quick_settings(model).items() <= keys.items()


def test_quick_leaves_the_layers_of_a_named_architecture_alone() -> None:
    named = check("--quick", "--architecture=transformer_h4,tcn_d1_2,tcn_d1_2,tcn_d1_2,tcn_d1_2", models="NASR")["NASR"]
    assert "n_layers" not in named
    assert check("--quick", "--architecture=sasrec-2", models="NASR")["NASR"]["n_layers"] == 4


def quick_plan(*words: str, models: str = "NASRSearch") -> list[preflight.PlannedRun]:
    line = [f"--model={models}", "--dataset=toy", "--data_path=data", "--quick", *words]
    return preflight.plan(build_request(parse_line(line)))


def test_quick_puts_three_networks_in_the_recipe_of_the_search_beside_it() -> None:
    planned = quick_plan("--epochs=7", "--search_n_paths=2", "--hidden_size=16")
    assert [run.name for run in planned] == ["NASRSearch", "SASRec-1", "NextItNet-1", "Random"]
    assert [run.model for run in planned] == ["NASRSearch", "NASR", "NASR", "NASR"]
    assert [run.settings.get("architecture") for run in planned] == [None, "sasrec-1", "nextitnet-1", "random"]
    for run in planned[1:]:
        own = {key: value for key, value in run.settings.items() if key != "architecture"}
        assert own.items() <= planned[0].settings.items()
        assert own["epochs"] == 7
    assert planned[0].settings["search_n_paths"] == 2


def test_only_a_single_quick_search_is_set_beside_others() -> None:
    assert [run.name for run in quick_plan(models="NASRSearch,NASR")] == ["NASRSearch", "NASR"]
    assert [run.name for run in quick_plan(models="NASR")] == ["NASR"]
    line = parse_line(["--model=NASRSearch", "--dataset=toy", "--data_path=data"])
    assert [run.name for run in preflight.plan(build_request(line))] == ["NASRSearch"]


def plan(*words: str, models: str = "NASRSearch") -> list[preflight.PlannedRun]:
    line = parse_line([f"--model={models}", "--dataset=toy", "--data_path=data", "--eval_step=1", *words])
    return preflight.plan(build_request(line))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--search_networks=20"], "`search_networks` has an effect only with `search_strategy` random, halving or"),
        (["--search_objective=next_item", "--search_preset=random"], "in force are `search_strategy: random`"),
        (["--search_preset=predictor", "--search_time=9", "--search_networks=3"], "without `search_time`"),
        (["--halving_epochs=2"], "`search_verify` of at least 1, or `search_strategy: halving`, but .*leave it out"),
        (["--halving_epochs=2", "--search_preset=random"], "`halving_epochs` has an effect only with"),
        (["--search_verify_random=1"], "or `search_strategy: predictor`"),
        (["--NASRSearch.search_sweeps=1"], "`search_strategy: nasr` with `search_scope: whole`"),
        (["--search_report_sequences=64"], "with `search_objective: contrastive`"),  # be it the default
    ],
)
@pytest.mark.parametrize("models", ["NASRSearch", "SASRec,NASRSearch"])
def test_a_key_of_the_command_line_that_the_search_does_not_read_is_refused(
    words: list[str], message: str, models: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(*words, models=models)


def test_a_key_that_the_search_reads_is_taken_and_a_file_may_have_any(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("search_networks: 20\nsearch_beam: 2\nhalving_epochs: 2\n")
    (search,) = plan("--config_files=all.yaml", "--search_preset=halving", "--search_space=extended")
    assert (search.settings["search_networks"], search.settings["search_beam"]) == (20, 2)
    plan("--search_networks=20", "--halving_factor=3", "--search_preset=halving")
    plan("--search_verify=1", "--search_verify_random=0", "--search_sweeps=1", "--search_preset=next_item_whole")
    plan("--search_verify_random=0", "--search_preset=predictor")


def test_an_architecture_reaches_nasr_alone() -> None:
    settings = check("--architecture=nextitnet-1", models="NASR,NASRSearch,SASRec")
    assert settings["NASR"]["architecture"] == "nextitnet-1"
    assert all("architecture" not in settings[model] for model in ("NASRSearch", "SASRec"))


def test_the_cpu_is_used_when_asked_for() -> None:
    keys = check("--device=cpu")["SASRec"]
    assert (keys["gpu_id"], keys["use_gpu"]) == ("", False)


def test_models_of_recbole_and_ours_are_known() -> None:
    names = sequential_models()
    assert names[:2] == ["NASR", "NASRSearch"]
    assert {"SASRec", "GRU4Rec", "NextItNet", "Caser", "BERT4Rec"} <= set(names)
    assert "Pop" not in names


@pytest.mark.parametrize(
    ("words", "models", "error", "message"),
    [
        ([], "SASRek", ConfigError, "no sequential model 'SASRek'. Did you mean 'SASRec'"),
        ([], "SASRec,Pop", ConfigError, "no sequential model 'Pop'"),
        (["--epoch=3"], "SASRec", ConfigError, "'epoch', given on the command line, .* Did you mean 'epochs'"),
        (["--config_files=bad.yaml"], "SASRec", ConfigError, "'lerning_rate', given in a configuration file"),
        (
            ["--kernel_size=3"],
            "SASRec",
            ConfigError,
            "is not a configuration key of SASRec. It is for --model=NASR and",
        ),
        (["--search_verify=3"], "NASR", ConfigError, "not a configuration key of NASR. It is for --model=NASRSearch."),
        (["--checkpoint_dir=x"], "SASRec", ConfigError, "goes into its own folder"),
        (["--NASR.checkpoint_dir=x"], "NASR", ConfigError, "goes into its own folder"),
        (["--nproc=2"], "NASR", ConfigError, "torchrun"),
        (["--metrics=['NDGC']"], "SASRec", ConfigError, "no metric named 'NDGC'"),
        (["--metrics=5"], "SASRec", ConfigError, "`metrics` must be names such as NDCG, but is 5"),
        (["--metrics=[5]"], "NASR", ConfigError, r"`metrics` must be names such as NDCG, but is \[5\]"),
        ([f"--eval_args={SAMPLED.replace('30', '0')}"], "SASRec", ConfigError, "`eval_args` of mode uni0 ranks"),
        (["--topk=0"], "SASRec", ConfigError, "`topk` must be integers from 1"),
        (["--valid_metric=MRR@5"], "SASRec", ConfigError, "`valid_metric` must be one of"),
        (
            ["--mask_history=true", "--metrics=[NDCG,ItemCoverage]"],
            "NASR",
            ConfigError,
            MASKING,
        ),
        (["--mask_history=true", f"--eval_args={SAMPLED_TEST}"], "NASR", ConfigError, MASKING),
        (
            ["--mask_history=true", "--benchmark_filename=[a,b,c]"],
            "NASR",
            ConfigError,
            "`mask_history` needs whole",
        ),
        (
            ["--benchmark_filename=[a,b,c]", "--item_inter_num_interval=[5,inf)"],
            "SASRec",
            ConfigError,
            "`item_inter_num_interval` must be empty .* RecBole leaves as they are",
        ),
        ([f"--eval_args={LABELED}"], "NASR", ConfigError, "`eval_args` of mode labeled measures value metrics"),
        ([f"--eval_args={SAMPLED.replace('30', '')}"], "SASRec", ConfigError, "`eval_args` must have mode full"),
        (["--eval_args={'split':None,'order':'TO'}"], "SASRec", ConfigError, "`eval_args` must have one split"),
        (["--eval_args={'split':{'LS':'test_only'},'order':'TO'}"], "NASR", ConfigError, PARTS),
        (["--eval_args={'split':{'RS':[0.8,0.2,0]},'order':'TO'}"], "SASRec", ConfigError, PARTS),
        (
            ["--user_inter_num_interval=10"],
            "SASRec",
            ConfigError,
            r"`user_inter_num_interval` must .* \[5,inf",
        ),
        (["--item_inter_num_interval=5-10"], "NASR", ConfigError, "`item_inter_num_interval` must be .* is '5-10'"),
        (["--val_interval={'timestamp':'3+'}"], "NASR", ConfigError, "`val_interval` must be"),
        (
            ["--user=196"],
            "NASR",
            ConfigError,
            r"'user', .* is not a configuration key of NASR\. It is for --recommend\.",
        ),
        (["--ops_module=my_ops.py"], "SASRec", ConfigError, r"It is for --model=NASR"),
        (["--exclude_seen=false"], "NASR", ConfigError, r"It is for --recommend and --export\."),
        (["--NASR.train_scheme=prefx"], "SASRec,NASR", ConfigError, "Did you mean 'prefix'"),
        (["--train_scheme=autoregresive"], "SASRec", ConfigError, "Did you mean 'autoregressive'"),
        (["--train_scheme=autoregressive", "--loss_type=BPR"], "SASRec", ConfigError, "needs loss_type=CE"),
        (["--config_files=parts.yaml"], "NASR", DataError, "train_scheme must be 'prefix'"),
        (["--config_files=parts.yaml"], "NASRSearch", DataError, "NASRSearch needs whole histories"),
        (["--architecture=sasrec-1"], "SASRec", ConfigError, "`architecture` is for --model=NASR"),
        (["--NASRSearch.architecture=sasrec-1"], "NASR,NASRSearch", ConfigError, "`architecture` is for --model=NASR"),
        (["--mask_history=true"], "NASR,SASRec", ConfigError, "`mask_history` is not known"),
        (["--NASR.mask_history=true"], "NASR,SASRec", ConfigError, "`mask_history` is not known"),
        (["--config_files=mask.yaml"], "NASR,SASRec", ConfigError, "`mask_history` is not known"),
        (["--device=cpu", "--use_gpu=true"], "SASRec", ConfigError, "`device` is cpu, but `use_gpu` is True"),
        (["--device=cuda", "--use_gpu=false"], "SASRec", ConfigError, "`device` is cuda, but `use_gpu` is False"),
        (["--architecture=sasrec-3"], "NASR", ArchitectureError, "Did you mean 'sasrec-"),
        (["--architecture=nowhere.json"], "NASR", ArchitectureError, "nowhere.json"),
        (["--architecture=bad.json"], "NASR", ArchitectureError, "bad.json"),
        (["--architecture=unknown.json"], "NASR", ArchitectureError, "lstm"),
        (["--architecture=transformer_h3"], "NASR", NASRError, "transformer_h3"),
        (["--hidden_size=50"], "SASRec,NASRSearch", NASRError, "hidden_size"),
        (["--candidate_ops=['transformer_h4','tcn']"], "NASRSearch", ArchitectureError, "'tcn'"),
        (["--layers_per_block=[4, 4]"], "NASRSearch", ArchitectureError, "must add up to `n_layers`"),
        (["--n_layers=2"], "NASRSearch", ArchitectureError, "`n_blocks` must lie in"),
        (["--search_space=papr"], "NASRSearch", ConfigError, "Did you mean 'paper'"),
        (["--search_epochs=0"], "NASRSearch", ConfigError, "search_epochs"),
    ],
)
def test_a_command_that_cannot_work_is_refused(
    tmp_path: Path, words: list[str], models: str, error: type[NASRError], message: str
) -> None:
    (tmp_path / "bad.yaml").write_text("lerning_rate: 0.1\n")
    (tmp_path / "mask.yaml").write_text("NASR.mask_history: true\n")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "parts.yaml").write_text("benchmark_filename: [train, valid, test]\n")
    schema = '"schema": "recbole-nasr/architecture", "schema_version": 1'
    (tmp_path / "unknown.json").write_text(f'{{{schema}, "blocks": [["lstm"]]}}')
    with pytest.raises(error, match=message):
        check(*words, models=models)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("words", [["--device=cuda"], ["--gpu_id=0"], ["--use_gpu=true"], ["--config_files=gpu.yaml"]])
def test_a_gpu_asked_for_where_there_is_none_is_refused(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "gpu.yaml").write_text("gpu_id: 0\n")
    with pytest.raises(ConfigError, match="asks for a GPU"):
        check(*words)


def test_the_gpu_that_is_named_is_shown_to_the_process_before_torch_looks_for_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str | None] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen.append(os.environ.get("CUDA_VISIBLE_DEVICES")) or True)
    assert defaults.device_settings("auto", {"gpu_id": 1}) == {"gpu_id": "1"}
    assert seen == ["1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1"),
        (HEADER, "at least one interaction"),
        ("u\ti\t1\n", "line 1"),
        (HEADER.replace("\t", ",") + "u,i,1\n", "line 1"),
        ("user_id:token\titem_id:token\nu\ti\n", "'timestamp'"),
        (HEADER + ROWS + "u\ti\n", "line 7: 3 columns are expected, 2 found"),
        (HEADER + ROWS + "u\ti\tnoon\n", "line 7: timestamp:float needs a number, but is 'noon'"),
        (HEADER + ROWS + "u\ti\t\n", "line 7: timestamp:float needs a finite number"),
        (HEADER + ROWS + "u\ti\tnan\n", "line 7: timestamp:float needs a finite number"),
        (HEADER.encode() + ROWS.encode() * 9000 + b"u\t\xff\xfe\t1\n", "bad.inter.*utf-8"),
    ],
)
def test_interactions_that_cannot_be_read_are_refused_with_file_and_line(
    data: Path, content: str | bytes, message: str
) -> None:
    folder = data / "bad"
    folder.mkdir()
    (folder / "bad.inter").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        check(dataset="bad")
    assert "bad.inter" in str(caught.value)


def test_a_users_file_is_read_once_for_all_models_of_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(checking, "check_interactions", lambda path, *_, **__: read.append(path))
    check(models="SASRec,GRU4Rec,NASR")
    assert [path.name for path in read] == ["toy.inter"]


def test_a_users_file_is_read_again_only_when_it_has_changed(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    read: list[Path] = []
    monkeypatch.setattr(checking, "check_interactions", lambda path, *_, **__: read.append(path))
    settings = check()["SASRec"]
    checking.check_run("SASRec", "toy", settings)
    assert len(read) == 1
    checking.check_run("SASRec", "toy", {**settings, "TIME_FIELD": "moment"})  # other columns of it
    assert len(read) == 2
    file = data / "toy" / "toy.inter"
    file.write_text(file.read_text() + "u0\ti0\t99\n")
    checking.check_run("SASRec", "toy", settings)
    assert len(read) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source=none.csv"], r"none\.csv does not exist"),
        (["--window_length=thirty"], "window_length must be a whole number"),
        (["--window_length=0"], "window_length must be a whole number, at least 4"),
        (["--split_by=tim"], "Did you mean 'time'"),
        (["--ml_release=100kb"], "Did you mean '100k'"),
    ],
)
def test_what_a_preparation_cannot_use_is_refused_before_any_work(words: list[str], message: str) -> None:
    with pytest.raises(NASRError, match=message):
        check(*words, dataset="ml")
    assert not list(Path("data").glob("ml-*"))


@pytest.mark.parametrize("word", ["--window_length=20", "--split_by=time", "--ml_release=1m", "--sequence_unit=user"])
def test_a_key_of_the_preparation_is_refused_for_data_that_are_not_prepared_here(word: str) -> None:
    key = word[2:].partition("=")[0]
    with pytest.raises(ConfigError, match=f"`{key}` is for data that are prepared here .* toy is read as it is"):
        check(word)
    check(word, dataset="ml")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--encoding=latin-1", r"`encoding` is for RecBole files .* but is 'latin-1'.* must be UTF-8"),
        ("--encoding=nonsense", r"`encoding` is for RecBole files"),
        ("--field_separator=;", r"`field_separator` is for RecBole files .* but is ';'.* `source_separator`"),
    ],
)
@pytest.mark.parametrize("model", ["NASR", "SASRec"])
def test_a_source_has_no_encoding_and_no_separator_of_recbole(
    tmp_path: Path, word: str, message: str, model: str
) -> None:
    (tmp_path / "shop.csv").write_text("user,item,time\n" + "".join(f"u,i{item},{item}\n" for item in range(9)))
    with pytest.raises(ConfigError, match=message):
        check(word, models=model, dataset="ml")
    with pytest.raises(ConfigError, match=message):
        check(word, "--source=shop.csv", models=model, dataset="shop")


def test_what_prepared_data_have_anyway_may_be_said_and_recboles_files_have_any() -> None:
    for word in ("--encoding=UTF-8", "--encoding=utf-8-sig", "--encoding=null", "--config_files=tab.yaml"):
        Path("tab.yaml").write_text('field_separator: "\\t"\n')
        check(word, dataset="ml")
    check("--encoding=latin-1")


def test_a_missing_rating_is_no_error(data: Path) -> None:
    folder = data / "rated"
    folder.mkdir()
    rows = "".join(f"u\ti{item}\t{item}\t\n" for item in range(5))
    (folder / "rated.inter").write_text(HEADER.replace("\n", "\trating:float\n") + rows)
    assert check(dataset="rated")


def test_an_unknown_data_set_names_the_nearest_one_the_user_has() -> None:
    with pytest.raises(DataError, match=r"no data set 'toyy': no file .*toyy\.inter.* Did you mean 'toy'"):
        check(dataset="toyy")


def test_a_data_set_that_was_prepared_from_a_file_needs_that_file_again(data: Path) -> None:
    (data / "shop-0123abcd").mkdir()
    (data / "shop-0123abcd" / "report.json").write_text("{}")
    with pytest.raises(DataError, match=r"no data set 'shop'.* name that again, --source=FILE\.$"):
        check(dataset="shop")


def test_a_folder_without_interactions_is_refused(data: Path) -> None:
    (data / "hollow").mkdir()
    with pytest.raises(DataError, match=r"hollow\.inter"):
        check(dataset="hollow")


def test_the_paper_protocol_is_reported_before_any_run() -> None:
    settings = check(models="NASR", dataset="ml")["NASR"]
    text = prepare_data("NASR", "ml", settings)
    assert text.splitlines()[1].split()[-4:] == ["98,064", "3,478", "1,349", "30"]


def test_data_of_the_user_have_no_preparation(write_inter: Callable[..., Path]) -> None:
    assert prepare_data("SASRec", "toy", check()["SASRec"]) == ""
