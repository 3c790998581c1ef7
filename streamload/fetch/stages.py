"""The stages that a step goes through on its way from storage into its slot, and how to add one.

A step is filled in **passes**, one after the other. Each pass has a list of stages, and one destination that all of them write to:
the slot of the step in the last pass, memory of this process in those before it. The first pass loads records from storage (decodes,
reads and collates them: `load`; augments them: `augment_fields`). Each further pass makes new fields from those of the pass before it:
a `transform` (`transform_records`), a `batch_transform` (`transform_batch`), `collate` (`arrange_ragged`). Without any of these there
is one pass, and records go straight into the slot.

In a pass, each stage first *measures*, in the order of the list. Then the destination makes room for what was measured. Then each
stage *writes*, in the same order:

- `measure(draft)` finds out what cannot be known without reading: which records cannot be decoded (it then calls `draft.settle`,
  before any other stage of the pass has measured), and how many elements a ragged field has in this batch. It sets
  `draft.elements[name]`; for every ragged field of the pass exactly one stage does so. It may already write *fixed* fields to
  `draft.target`, if it has to make them in order to measure. It must not write ragged fields: there is no room for them yet.
- `write(draft)` writes everything else to `draft.target`, which may be another object than in `measure`: rows [0, draft.count) of
  fixed fields; of ragged fields, the elements and `draft.target.offsets[name][: draft.count + 1]`.

What a stage may rely on: `draft.records`, `draft.pieces`, `draft.streams` and `draft.slices` always describe the rows that the batch
has now. `draft.source` holds the fields of the pass before. Whatever is random depends on the stream's seed and on `draft.pieces`
(stream, epoch and position of each row), and on nothing else. Arrays of the draft belong to this step, and must not be kept. What a
stage raises becomes the error of the step; a StreamloadError keeps its class, and gets the epoch and the step as details.

A stage is made once in each process, from the job alone. It owns its memory, which the loader's account of memory must include
(`loader.budget`). The schema of the last pass is `job.layout.schema`.

To add a stage: write a class with these two methods, and put it into the list of its pass in `fetcher.BatchFetcher`. A stage that takes
a field over from another one (for example, one that crops images while it reads them) writes that field itself, and the field is
left out of the list of the other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamload.fetch.draft import BatchDraft, Destination


class Stage(Protocol):
    """One piece of the work on a step. The docstring of this module has the rules."""

    def measure(self, draft: BatchDraft) -> None:
        """Settle which records the batch has, and set `draft.elements` of the ragged fields of this stage."""
        ...

    def write(self, draft: BatchDraft) -> None:
        """Write the fields of this stage to `draft.target`."""
        ...


class Pass:
    """Stages that write to one destination."""

    def __init__(self, stages: Sequence[Stage], destination: Destination) -> None:
        self._stages = tuple(stages)
        self._destination = destination

    def run(self, draft: BatchDraft) -> None:
        """Take one step through the stages: what was the target of the pass before is the source of this one. Raises what they raise."""
        if draft.elements:
            draft.elements = {}
        draft.source, draft.target = draft.target, self._destination.begin(draft)
        for stage in self._stages:
            stage.measure(draft)
        draft.target = self._destination.fit(draft)
        for stage in self._stages:
            stage.write(draft)
