"""The learning rate of generators and critics over their updates."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("seghgan")
class LateFall(keras.optimizers.schedules.LearningRateSchedule):
    """Holds a rate for the first half of its updates, then lets it fall linearly to a tenth, where it stays.

    >>> [round(float(LateFall(0.1, 100)(update)), 4) for update in (0, 50, 75, 100, 200)]
    [0.1, 0.1, 0.055, 0.01, 0.01]
    """

    def __init__(self, rate: float, updates: int) -> None:
        self.rate, self.updates = rate, updates

    def __call__(self, step: Any) -> Any:
        """Return the rate of the update `step`, a float32 scalar."""
        done = keras.ops.cast(step, "float32") / self.updates
        return self.rate * keras.ops.clip(1.9 - 1.8 * done, 0.1, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {"rate": self.rate, "updates": self.updates}
