"""The key ``training``: how long, on what, at which precision."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from volseg.recipe.kinds import Count, Says, Seconds, Seed, Share, Size
from volseg.recipe.section import Section

Arithmetic = Literal["float32", "bf16", "fp16"]


def _form(value: object) -> str:
    return "<auto>" if isinstance(value, str) else "<set>"


class Training(Section):
    """Epochs, patches, precision, seed, checkpoints."""

    patch: Size = Field(description="size of a training patch entering the network, one number per axis")
    batch: Count = Field(2, description="patches in a batch, on each device")
    epochs: Count = Field(100, description="epochs")
    steps_per_epoch: Count | None = Field(None, description="batches per epoch; none is one patch of every case")
    foreground: Share = Field(0.33, description="share of the patches that are centred on a structure")
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "auto",
        description="of the network's arithmetic; 'auto' is float32, or bf16 where the device has it and is faster",
    )
    channels_last: Annotated[
        Annotated[Literal["auto"], Tag("<auto>")] | Annotated[bool, Tag("<set>")],
        Discriminator(_form),
        Says("'auto', true or false"),
    ] = Field("auto", description="memory layout with channels last; 'auto' is what a probe finds faster")
    sync_batch_norm: bool = Field(False, description="whether batch normalisation takes its statistics over all GPUs")
    seed: Seed = Field(0, description="all randomness is a function of it, the epoch, the case and the operation")
    cache: Literal["memory", "disk", "device"] | None = Field(
        "memory", description="where preprocessed cases are kept between epochs"
    )
    validate_every: Count = Field(5, description="epochs between validations")
    early_stop: Count | None = Field(None, description="validations without progress after which training stops")
    keep_checkpoints: Annotated[int, Field(ge=2, le=100)] = Field(2, description="checkpoints kept beside the best")
    time_limit: Seconds | None = Field(None, description="time after which training stops, leaving a checkpoint")
    workers: Annotated[int, Field(ge=0, le=256)] | None = Field(
        None, description="processes that prepare data; none leaves the choice to the machine at hand"
    )
