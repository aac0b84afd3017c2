"""M-BEIR's JSON records as samples: what each field means, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lit_mmembed.data.spelling import check_id, check_unicode
from lit_mmembed.data.tasks import find_task
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task

Record = Mapping[str, Any]
ModalityOf = Callable[[str], Modality | None]
"""A document's modality by its id, None when the pool has no such document."""


class Draft(NamedTuple):
    """A sample without its image."""

    sample: Sample
    image_path: str | None


def parse_candidate(record: Record) -> Draft:
    """Read a line of a candidate pool: did, txt, img_path, modality, src_content."""
    did = _identifier(record, "did")
    text, image_path = _text(record, "txt"), _text(record, "img_path")
    modality = _modality(record, "modality", text=text, image_path=image_path)
    return Draft(Sample(did, text, None, modality, source=_source(record, "src_content")), image_path)


def parse_query(record: Record, tasks: Sequence[Task], modality_of: ModalityOf) -> Draft:
    """Read a line of a query file.

    A record without task_id belongs to the row whose modalities are the query's and its first positive's.
    """
    qid = _identifier(record, "qid")
    text, image_path = _text(record, "query_txt"), _text(record, "query_img_path")
    modality = _modality(record, "query_modality", text=text, image_path=image_path)
    positives = document_ids(record, "pos_cand_list")
    asked = modality_of(positives[0]) if positives else None
    task = _task(qid, record.get("task_id"), (modality, asked), tasks)
    sample = Sample(
        qid,
        text,
        None,
        modality,
        task=task.name,
        positives=positives,
        negatives=document_ids(record, "neg_cand_list"),
        source=_source(record, "query_src_content"),
    )
    return Draft(sample, image_path)


def document_ids(record: Record, field: str) -> tuple[str, ...]:
    """Read a list of document ids; they stand as strings, or as objects {"did": ...} in the data set's own README."""
    listed = record.get(field) or ()
    dids = tuple(item["did"] if isinstance(item, dict) and "did" in item else item for item in listed)
    if not all(isinstance(did, str) for did in dids):
        raise InputError(f"{field} holds something that is no document id", fix="write a list of strings")
    check_unicode("".join(dids), field)
    return dids


def dataset_of(sample_id: str) -> int:
    """Read the dataset number: the part of an id before the colon."""
    number = sample_id.partition(":")[0]
    if not number.isdecimal():
        raise InputError(f"id {sample_id!r} has no dataset number", fix='write ids as "dataset:number"')
    return int(number)


def _task(qid: str, mbeir_id: int | None, modalities: tuple[Modality, Modality | None], tasks: Sequence[Task]) -> Task:
    """Find a query's row by its task_id, or without one by (query modality, first positive's modality)."""
    dataset_id = dataset_of(qid)
    if mbeir_id is None:
        for task in tasks:
            if task.dataset_id == dataset_id and (task.query_modality, task.candidate_modality) == modalities:
                return task
        raise InputError("has no task_id, and its modalities fit no task", fix="give it M-BEIR's task number")
    if not isinstance(mbeir_id, int):
        raise InputError(f"task_id {mbeir_id!r} is not an integer", fix="write M-BEIR's task number, 0 to 8")
    task = find_task(dataset_id, mbeir_id, tasks)
    if task.query_modality is not modalities[0]:
        problem = f'query_modality is "{modalities[0]}", but {task.name} asks with "{task.query_modality}"'
        raise InputError(problem, fix="correct query_modality or task_id")
    return task


def _identifier(record: Record, field: str) -> str:
    found = record.get(field)
    if not isinstance(found, str) or not found:
        raise InputError(f"lacks {field}", fix=f"give every record a {field}")
    check_id(found)
    return found


def _text(record: Record, field: str) -> str | None:
    found = record.get(field)
    if found is not None and not isinstance(found, str):
        raise InputError(f"{field} is neither a string nor null", fix=f"correct {field}")
    check_unicode(found, field)
    return found or None


def _source(record: Record, field: str) -> str | None:
    found = record.get(field)
    if found is None:
        return None
    check_unicode(str(found), field)
    return str(found)


def _modality(record: Record, field: str, *, text: str | None, image_path: str | None) -> Modality:
    held = Modality.of(text=text is not None, image=image_path is not None)
    if field not in record:
        return held
    said = Modality.parse(record[field])
    if said is not held:
        raise InputError(f'{field} says "{said}", but the record holds "{held}"', fix="correct either")
    return said
