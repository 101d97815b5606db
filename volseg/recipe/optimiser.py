"""The key ``optimiser``: how the weights are moved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from volseg.recipe.kinds import Count, NotNegative, Positive, Says, kind_of, must
from volseg.recipe.section import Section

Momentum = Annotated[float, Field(ge=0, lt=1)]


class Stepping(Section):
    """What every optimiser has: decay, schedule, clipping, accumulation, averaging."""

    kind: str = Field(description="which optimiser")
    lr: Positive = Field(description="learning rate")
    weight_decay: NotNegative = Field(3e-5, description="weight decay")
    schedule: Literal["poly", "cosine", "constant"] = Field("poly", description="how the learning rate falls")
    power: Positive = Field(0.9, description="power of the poly schedule")
    warmup: Annotated[int, Field(ge=0)] = Field(0, description="epochs in which the learning rate rises from 0")
    gradient_clip: Positive | None = Field(12.0, description="largest norm of the gradients")
    accumulate: Count = Field(1, description="batches whose gradients are summed before a step")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay of the running average of the weights that is validated and kept"
    )


class SGD(Stepping):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = Field(description="stochastic gradient descent")
    lr: Positive = Field(0.01, description="learning rate")
    momentum: Momentum = Field(0.99, description="momentum")
    nesterov: bool = Field(True, description="whether the momentum is Nesterov's")


class Adam(Stepping):
    """Adam; AdamW decouples the weight decay."""

    kind: Literal["adam", "adamw"] = Field("adamw", description="Adam, or Adam with decoupled weight decay")
    lr: Positive = Field(1e-3, description="learning rate")
    betas: Annotated[
        tuple[Momentum, ...], must(lambda b: len(b) == 2), Says("two numbers of at least 0 and below 1")
    ] = Field((0.9, 0.999), description="decay of the two running averages")


Optimiser = Annotated[
    Annotated[SGD, Tag("<sgd>")] | Annotated[Adam, Tag("<adam>")] | Annotated[Adam, Tag("<adamw>")],
    kind_of("adamw"),
]
