"""Placeholder until the metrics branch is merged."""
from pydantic import BaseModel, ConfigDict
from lesionlab.data.batches import Batch
class ConventionalOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
def augment(batch: Batch, options: ConventionalOptions) -> Batch:
    return batch
