"""Repairs of input that RecBole evaluates as Python: values of keys, configuration files, search spaces, embeddings."""

from __future__ import annotations

import ast
from os import PathLike
from typing import Any

from recbole_nasr.compat.repair import repair
from recbole_nasr.configuration.files import read_settings
from recbole_nasr.errors import ConfigError, DataError
from recbole_nasr.patching import variant


def _literal(text: str) -> Any:
    """Return the literal that ``text`` is; on the SyntaxError for any other text, RecBole keeps the text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        msg = f"{text:.80} is no value"
        raise SyntaxError(msg) from error


@repair(
    "config/configurator.py",
    131,
    "value = eval(param)",
    why="Every text in config_dict and on the command line is run as Python, and 1-2-3 becomes -4.",
)
def read_values_as_data() -> bool:
    """Read a value as a Python literal, or else as the text it is."""
    import recbole.config.configurator as module

    vars(module)["eval"] = _literal
    return True


@repair(
    "config/configurator.py",
    155,
    "yaml.load(f.read(), Loader=self.yaml_loader)",
    why="A configuration file may name any function that the program has imported, and stand for billions of values.",
)
def read_config_files_as_data() -> bool:
    """Read the files of ``config_file_list`` with `recbole_nasr.configuration.files`."""
    from recbole.config import Config

    def _load_config_files(_self: Any, file_list: list[str] | None) -> dict[str, Any]:
        if isinstance(file_list, (str, PathLike)):  # a text would be read as a list of letters
            msg = f"`config_file_list` is a list of files, but is {str(file_list)!r:.200}; write it in brackets."
            raise ConfigError(msg)
        return {key: value for file in file_list or () for key, value in read_settings(file).items()}

    Config._load_config_files = _load_config_files  # noqa: SLF001 - what is repaired
    return True


@repair(
    "trainer/hyper_tuning.py",
    238,
    "para_value = eval(para_value)",
    why="The choices in a file of HyperTuning are run as Python.",
)
def read_search_space_as_data() -> bool:
    """Read the choices in a file of parameters as Python literals."""
    import recbole.trainer.hyper_tuning as module

    def choices(text: str) -> Any:
        try:
            return _literal(text)
        except SyntaxError:
            msg = f"The choices of a search space are a list of values such as [0.1, 0.2], but are {text!r:.80}."
            raise ConfigError(msg) from None

    vars(module)["eval"] = choices
    return True


@repair(
    "model/general_recommender/ldiffrec.py",
    231,
    "np.load(emb_path, allow_pickle=True)",
    why="LDiffRec reads item_emb.npy from the folder of the data, and runs whatever that names.",
)
def read_embeddings_as_numbers() -> bool:
    """Read the embeddings of LDiffRec as numbers only."""
    import recbole.model.general_recommender.ldiffrec as module

    numpy = module.np

    def load(path: str, **_options: Any) -> Any:
        try:
            return numpy.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            msg = f"{path} must be an array of numbers, as numpy.save writes it, but: {error}"
            raise DataError(msg) from error

    module.np = variant(numpy, load=load)
    return True


@repair(
    "model/context_aware_recommender/kd_dagfm.py",
    44,
    "self.teacher_network = eval(f",
    why="KD_DAGFM runs the value of teacher as Python.",
)
def find_teacher_by_name() -> bool:
    """Look up the teacher network of KD_DAGFM by its name, without evaluating it."""
    import recbole.model.context_aware_recommender.kd_dagfm as module
    from torch import nn

    def teacher(name: str) -> Any:
        found = vars(module).get(name)
        if isinstance(found, type) and issubclass(found, nn.Module) and found.__module__ == module.__name__:
            return found
        names = sorted(
            key for key, one in vars(module).items() if isinstance(one, type) and one.__module__ == module.__name__
        )
        msg = f"`teacher` must be the name of a network, one of {', '.join(names)}, but is {name!r:.80}."
        raise ConfigError(msg)

    vars(module)["eval"] = teacher
    return True
