"""Layouts: how a cohort's files are named, kept as data (YAML), so that a new naming needs no code.

.. code-block:: yaml

    layouts:
      my_cohort:
        reader: files                                # the default; bids, msd, dicom, csv: see docs/layouts.md
        study: "{subject}/{visit}_*.nii.gz"          # whatever exists once or more per study: a folder or files
        sequences:
          T1w: "{subject}/{visit}_T1.nii.gz"
          FLAIR: ["{subject}/{visit}_FLAIR.nii.gz", "{subject}/{visit}_flair*.nii.gz"]  # the first that exists
        lesion:                                      # optional
          file: "{subject}/{visit}_lesion.nii.gz"
          drawn_on: FLAIR                            # the sequence on whose grid the mask was drawn
          codes: {1: edema, 2: tumor, 3: tumor}      # file's code: lesion class; 0 is background
          ignore: [9]                                # codes that count as background
        brain_mask: "{subject}/brain.nii.gz"         # optional

What the values of ``sequences`` are depends on the reader:

=========  =========================================================================================================
``files``  file templates
``bids``   BIDS suffixes with the entities that must be there: ``T1w``, ``ce-*_T1w``, ``acq-space_T2w``
``msd``    names of channels in dataset.json
``dicom``  patterns for a series' description, ``*`` and ``?``, upper or lower case; one with ``!`` in front excludes
``csv``    names in the table's column ``sequence``; the sequence's own name always counts
=========  =========================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lesionlab.cohort.templates import check_template
from lesionlab.errors import InputError
from lesionlab.names import listed, suggestion

BACKGROUND_CODE = 0

#: How the scans of a study are found.
Reader = Literal["files", "bids", "msd", "dicom", "csv"]


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _templates(value: Any) -> Any:
    return tuple(check_template(template) for template in _several(value))


#: One template, or alternatives of which the first that names a file is taken.
Templates = Annotated[tuple[str, ...], BeforeValidator(_templates)]
Names = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class LesionLayout(BaseModel):
    """Where the lesion mask lies and what its codes mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Templates = Field((), description="templates; a csv cohort has its column lesion_path instead")
    drawn_on: Names = Field(
        description="sequences whose grid and position the mask shares; the first one in use counts"
    )
    codes: dict[int, str] = Field(min_length=1, description="code in the file: lesion class")
    ignore: tuple[int, ...] = Field((), description="codes in the file that count as background")
    optional: bool = Field(False, description="whether a study without the file is kept, as unlabelled")

    @model_validator(mode="after")
    def _codes_are_disjoint(self) -> LesionLayout:
        wrong = sorted(set(self.codes) & {BACKGROUND_CODE, *self.ignore})
        if wrong:
            raise ValueError(f"codes {wrong} are both a lesion class and background (0 and `ignore`)")
        return self


class Layout(BaseModel):
    """A cohort's naming: templates relative to the cohort's root folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: Reader = Field("files", description="what finds the scans of a study")
    study: Templates = Field(
        (), description="what exists for every study (files, bids), the study's folder (dicom); several add up"
    )
    sequences: dict[str, Names] = Field(
        {}, description="what names a sequence: templates, entities, channels, descriptions or words, by the reader"
    )
    lesion: LesionLayout | None = None
    brain_mask: Templates | None = None
    table: str | None = Field(
        None, description="csv: the cohort's table; dicom: series to sequence. A CSV file below the root"
    )
    subjects: str | None = Field(None, description="dicom: a CSV file below the root, folder to subject (and visit)")
    outside: bool = Field(False, description="csv: whether paths may leave the cohort's folder")

    @model_validator(mode="after")
    def _fits_its_reader(self) -> Layout:
        if self.reader in ("files", "bids", "dicom") and not self.study:
            raise ValueError(f"a layout of reader '{self.reader}' needs `study`")
        if self.reader != "csv" and not self.sequences:
            raise ValueError("`sequences` is empty")
        if self.reader == "files":
            for template in (one for several in self.sequences.values() for one in several):
                check_template(template)
        if self.lesion is not None and not self.lesion.file and self.reader != "csv":
            raise ValueError("`lesion.file` is empty")
        for name in ("table", "subjects"):
            if getattr(self, name) is not None and self.reader not in _TABLES[name]:
                raise ValueError(f"`{name}` is for {' and '.join(_TABLES[name])}, not for reader '{self.reader}'")
        return self

    @model_validator(mode="after")
    def _lesion_lies_on_a_sequence(self) -> Layout:
        for name in () if self.lesion is None or not self.sequences else self.lesion.drawn_on:
            if name not in self.sequences:
                raise ValueError(
                    f"lesion.drawn_on names '{name}', which is none of the sequences {list(self.sequences)}"
                )
        return self


_TABLES = {"table": ("csv", "dicom"), "subjects": ("dicom",)}


def find_layout(layouts: Mapping[str, Layout | Mapping[str, Any]], name: str) -> Layout:
    """Return the layout of that name, read from its mapping.

    Raises:
        InputError: no layout has that name, or its entries are not a layout's.
    """
    if name not in layouts:
        raise InputError(
            "there is no layout of that name",
            given=name,
            allowed=listed(sorted(layouts)),
            cure=f"{suggestion(name, layouts)}or write it under `layouts:` in conf/<your experiment>/parameters.yml",
        )
    found = layouts[name]
    return found if isinstance(found, Layout) else parse_layout(found, name)


def parse_layout(mapping: Mapping[str, Any], name: str = "layout") -> Layout:
    """Read a layout from a YAML mapping; raises ``InputError`` that names the entry at fault."""
    try:
        return Layout.model_validate(dict(mapping))
    except ValidationError as error:
        fault = error.errors()[0]
        entry = ".".join(map(str, (name, *fault["loc"])))
        fields = (*Layout.model_fields, *LesionLayout.model_fields)
        raise InputError(
            f"the layout's entry `{entry}` is wrong: {fault['msg'].removeprefix('Value error, ')}",
            given=repr(fault["input"])[:200],
            allowed=f"entries {listed(Layout.model_fields)}; in `lesion`: {listed(LesionLayout.model_fields)}",
            cure=f"{suggestion(str(fault['loc'][-1]), fields) if fault['loc'] else ''}correct the layout's entry",
        ) from error


def check_sequences(layout: Layout, sequences: Iterable[str]) -> tuple[str, ...]:
    """Return the sequences as a tuple; raises ``InputError`` for none, a repeated or an unknown one."""
    wanted = tuple(sequences)
    known = layout.sequences or dict.fromkeys(wanted, ())  # a csv layout may leave the names to the table
    wrong = next((name for name in wanted if name not in known or wanted.count(name) > 1), None)
    if wrong is not None or not wanted:
        raise InputError(
            "the sequences asked for are not the layout's" if wrong is not None else "no sequence is asked for",
            given=listed(wanted),
            allowed=f"each once: {listed(layout.sequences)}",
            cure=f"{suggestion(wrong or '', layout.sequences)}correct `sequences`, or add its template to the layout",
        )
    return wanted


def check_classes(lesion: LesionLayout, classes: Iterable[str]) -> None:
    """Raise ``InputError`` where a code stands for a class that is none of the configured lesion classes."""
    known = list(classes)
    for code, name in lesion.codes.items():
        if name not in known:
            raise InputError(
                f"the layout gives lesion code {code} a class that is not configured",
                given=name,
                allowed=listed(known),
                cure=f"{suggestion(name, known)}correct the layout's `lesion.codes`, or extend `lesion_classes`",
            )
