"""Read an interaction file once before training: RecBole's parser is slower, and its errors name no line."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recbole_nasr.data.atomic import check_interaction_file
from recbole_nasr.errors import DataError, NASRError


def check_interactions(path: Path, config: Any, *, with_time: bool = True) -> None:
    """Check header and rows of an ``.inter`` file.

    Args:
        path: The file.
        config: A RecBole ``Config``, or a mapping with its keys on fields, separator and encoding.
        with_time: Whether the time field is needed.

    Raises:
        DataError: If the file cannot be read or is empty, a field is missing, a row has another number of
            columns than the header, or a number is none; the message names the file and the line.
    """
    separator, encoding = config["field_separator"], config["encoding"] or "utf-8"
    fields = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], config["TIME_FIELD"]][: 3 if with_time else 2]
    check_interaction_file(path, separator=separator, fields=fields, encoding=encoding)
    try:
        with path.open(encoding=encoding) as lines:
            header = next(lines).rstrip("\n").split(separator)
            _check_rows(path, lines, header, separator, fields[2:])
    except UnicodeDecodeError as error:
        msg = f"{path}: the file must be {encoding} text, but {error}; set `encoding` or convert the file."
        raise DataError(msg) from None


def _check_rows(path: Path, lines: Iterable[str], header: list[str], separator: str, finite: list[str]) -> None:
    """Check what follows the header; values of the fields ``finite`` may not be missing, nan or inf."""
    floats = [
        (index, column.partition(":")[0] in finite) for index, column in enumerate(header) if column.endswith(":float")
    ]
    for number, line in enumerate(lines, start=2):
        if line.isspace():
            continue
        cells = line.rstrip("\n").split(separator)
        try:
            if len(cells) != len(header):
                msg = f"{path}, line {number}: {len(header)} columns are expected, {len(cells)} found."
                raise DataError(msg)
            for index, needed in floats:
                text = cells[index]
                if (text or needed) and not math.isfinite(float(text or "nan")) and needed:
                    msg = f"{path}, line {number}: {header[index]} needs a finite number, but is {text!r}."
                    raise DataError(msg)
        except NASRError:
            raise
        except ValueError:
            msg = f"{path}, line {number}: {header[index]} needs a number, but is {text!r}."
            raise DataError(msg) from None
