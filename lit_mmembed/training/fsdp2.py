"""FSDP2 over all processes, on one machine or several: Lightning's strategy wants their number written down."""

from __future__ import annotations

from lightning.pytorch.strategies import ModelParallelStrategy


class Fsdp2(ModelParallelStrategy):
    """Shards weights, gradients and optimizer states over all processes.

    Lightning's `ModelParallelStrategy` takes `data_parallel_size: auto` for the number of machines, and so needs the
    number of GPUs in the YAML.
    """

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1)

    def setup_environment(self) -> None:
        """Count the processes, then begin."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()
