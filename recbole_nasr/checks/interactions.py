"""Read an interaction file once before training: RecBole's parser is slower, and its errors name no line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_nasr.data.atomic import check_interaction_file, first_bad_row
from recbole_nasr.errors import DataError


def check_interactions(path: Path, config: Any, *, with_time: bool = True) -> None:
    """Check header and rows of an ``.inter`` file.

    Args:
        path: The file.
        config: A RecBole ``Config``, or a mapping with its keys on fields, separator and encoding.
        with_time: Whether the time field is needed.

    Raises:
        DataError: If the file cannot be read or is empty, a field is missing, a row has another number of
            columns than the header, the time is a token, or a number is none; the message names the file and the line.
    """
    separator, encoding = config["field_separator"], config["encoding"] or "utf-8"
    fields = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], config["TIME_FIELD"]][: 3 if with_time else 2]
    check_interaction_file(path, separator=separator, fields=fields, numbers=fields[2:], encoding=encoding)
    try:
        bad = first_bad_row(path, separator=separator, encoding=encoding, finite=fields[2:])
    except UnicodeDecodeError as error:
        msg = f"{path}: the file must be {encoding} text, but {error}; set `encoding` or convert the file."
        raise DataError(msg) from None
    if bad:
        msg = f"{path}, {bad}."
        raise DataError(msg)
