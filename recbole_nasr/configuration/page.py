"""``python -m recbole_nasr.configuration.page``: docs/configuration.md and the table in the README, from the YAML."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from recbole_nasr.configuration.resources import available, yaml_text

FILES = {
    "Network and training, `NASR`": ("properties/model", "NASR"),
    "Search, `NASRSearch`": ("properties/model", "NASRSearch"),
    "Data, `--dataset=ml`": ("dataset_configs", "ml"),
    "Data, `--dataset=lastfm`": ("dataset_configs", "lastfm"),
    "Data of your own, `--source=FILE`": ("properties/data", "own"),
}
"""Title and file of each table."""

_PRESETS = {
    "Search presets, `search_preset`": "properties/search",
    "Search spaces, `search_space`": "properties/space",
}

_HEAD = """\
# Configuration

Every key of ours with its default. Set a key on the command line (`--key=value`), in `config_dict`, or in a YAML file
(`--config_files`). An empty default is `~`; to empty a key that has a value write `null`, in a file as on the command
line (`--max_end_gap=null`).

Precedence, strongest first:

1. command line
2. `config_dict`
3. configuration files
4. `dataset_configs/<dataset>.yaml`
5. presets (`search_preset`, `search_space`)
6. model YAML
7. RecBole's defaults

RecBole's own keys work as they do in [RecBole](https://recbole.io/docs/user_guide/config_settings.html). This page
lists those whose default we set. A key that nothing reads is an error that names the nearest one. Options of the
command alone (`--quick`, `--device`, `--runs_dir`, ...) are in `--help`. For Weights & Biases (`log_wandb`) and MLflow
(`log_mlflow`) see [using.md](using.md#trackers).

`python -m recbole_nasr.configuration.page` writes this page, and the table in the README, from the YAML files.
"""

SHORT = (
    ("NASR", "architecture"),
    ("NASR", "n_layers"),
    ("NASR", "n_blocks"),
    ("NASR", "hidden_size"),
    ("NASR", "epochs"),
    ("NASR", "learning_rate"),
    ("NASR", "train_batch_size"),
    ("NASR", "mask_history"),
    ("NASRSearch", "search_preset"),
    ("NASR", "search_space"),
    ("NASRSearch", "search_epochs"),
    ("NASRSearch", "search_verify"),
)
"""The keys in the README: model YAML and key."""

BEGIN, END = "<!-- configuration: generated, see CONTRIBUTING.md -->\n", "<!-- end of configuration -->\n"
"""What stands around the README's table."""

_KEY = re.compile(r"(?P<key>\w+):(?P<value>.*?)(?:\s+# (?P<comment>.*))?")
_COMMENT = re.compile(r"\((?P<kind>[^)]*)\) (?P<meaning>.*)")
_SECTION = re.compile(r"# (?P<title>[^.]*)")


@dataclass(frozen=True)
class Key:
    """One key of a YAML file.

    Args:
        name: The key.
        default: Its value, as written.
        kind: What it may be, such as ``int``.
        meaning: One sentence or more.
        section: Heading it stands under.
    """

    name: str
    default: str
    kind: str
    meaning: str
    section: str


def keys_of(text: str) -> Iterator[Key]:
    """Yield the keys at the top level of a YAML file of ours, in its order.

    Raises:
        ValueError: If a key has no comment of the form ``# (type) Meaning.``.
    """
    section, after_blank = "", True
    nested = {key: value for key, value in yaml.safe_load(text).items() if isinstance(value, dict)}
    for line in text.splitlines():
        found = _KEY.fullmatch(line)
        if found:
            comment = _COMMENT.fullmatch(found["comment"] or "")
            if comment is None:
                msg = f"Every key of a YAML file needs a comment `# (type) Meaning.`, but this line has none: {line}"
                raise ValueError(msg)
            value = found["value"].strip() or _in_one_line(nested[found["key"]])
            yield Key(found["key"], value, comment["kind"], comment["meaning"], section)
        elif after_blank and (heading := _SECTION.match(line)):
            section = heading["title"]
        after_blank = not line.strip()


def _in_one_line(value: dict[str, Any]) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=sys.maxsize)).strip()


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [_HEAD]
    for title, (folder, name) in FILES.items():
        parts += [f"## {title}\n", f"From `{folder}/{name}.yaml`.\n", _table(list(keys_of(yaml_text(folder, name))))]
    for title, folder in _PRESETS.items():
        parts.append(f"## {title}\n")
        for name in available(folder):
            text = yaml_text(folder, name)
            parts += [f"`{name}`: {text.splitlines()[0].removeprefix('# ')}\n", _table(list(keys_of(text)))]
    return "\n".join(parts)


def short_table() -> str:
    """Return the README's table of a few keys as Markdown."""
    known = {
        (name, key.name): key for name in ("NASR", "NASRSearch") for key in keys_of(yaml_text("properties/model", name))
    }
    return _table([replace(known[place], section="") for place in SHORT])


def with_short_table(readme: str) -> str:
    """Return the README with the present table between :data:`BEGIN` and :data:`END`."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}{short_table()}{END}{rest.partition(END)[2]}"


def _table(keys: list[Key]) -> str:
    lines = []
    for number, key in enumerate(keys):
        if number == 0 or key.section != keys[number - 1].section:
            heading = [f"**{key.section}**", ""] if key.section and len({other.section for other in keys}) > 1 else []
            lines += [
                *([""] if number else []),
                *heading,
                "| key | default | type | meaning |",
                "| --- | --- | --- | --- |",
            ]
        cells = [f"`{key.name}`", f"`{key.default}`" if key.default else "", key.kind, key.meaning]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


def main() -> int:
    """Write both into the current folder, a checkout; return 0, or 2 if it is none."""
    readme, page_file = Path("README.md"), Path("docs/configuration.md")
    if not (readme.is_file() and page_file.parent.is_dir() and BEGIN in readme.read_text(encoding="utf-8")):
        sys.stderr.write("error: this is run in the folder of a checkout, with README.md and docs/.\n")
        return 2
    page_file.write_text(page(), encoding="utf-8")
    readme.write_text(with_short_table(readme.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
