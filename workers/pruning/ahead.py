"""The next block's weights on their way to a GPU while the present block computes."""

import threading
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

_ALIGNED = 512  # bytes: where tensors begin that share a stretch of the device's memory


class Ahead:
    """Copies the weights of the next block to a GPU while the present block computes.

    A thread reads them from their files into pinned memory, from where a stream of its own takes
    them over: neither the disk nor the bus is waited for where computing takes longer. The next
    block is the one that follows in the direction of the last step, so that passes back are
    served as well.
    """

    def __init__(self, device: torch.device, blocks: Mapping[nn.Module, Sequence[Tensor]]) -> None:
        """Begin with nothing on its way.

        Args:
            device: the GPU.
            blocks: stored weights of every block, in execution order.
        """
        self._device = device
        self._blocks = blocks
        self._order = list(blocks)
        self._place = -1
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's
        self._pinned = torch.empty(0, dtype=torch.uint8)
        self._coming: _Coming | None = None

    def take(self, block: nn.Module) -> dict[Tensor, tuple[int, Tensor]]:
        """The block's weights on the device, each with the version of what was copied."""
        if block not in self._blocks:
            return {}
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.thread.join()
        if coming is None or coming.block is not block:
            coming = self._start(block)
            coming.thread.join()
        if coming.failed:
            raise coming.failed[0]
        torch.cuda.current_stream(self._device).wait_event(coming.arrived)
        place = self._order.index(block)
        step = -1 if place < self._place else 1
        self._place = place
        following = self._order[(place + step) % len(self._order)]
        if following is not block:
            self._coming = self._start(following)
        return coming.copies

    def _start(self, block: nn.Module) -> "_Coming":
        weights = self._blocks[block]
        sizes = [-(-weight.nbytes // _ALIGNED) * _ALIGNED for weight in weights]
        if sum(sizes) > len(self._pinned):
            self._pinned = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
        room = torch.empty(sum(sizes), dtype=torch.uint8, device=self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        copies, steps, offset = {}, [], 0
        for weight, size in zip(weights, sizes, strict=True):
            part = slice(offset, offset + weight.nbytes)
            waiting, there = (
                flat[part].view(weight.dtype).view(weight.shape) for flat in (self._pinned, room)
            )
            copies[weight] = weight._version, there  # noqa: SLF001 - counts writes
            steps.append((weight, waiting, there))
            offset += size
        coming = _Coming(block, copies, torch.cuda.Event(), [])  # type: ignore[no-untyped-call]  # torch's
        coming.thread = threading.Thread(target=self._copy, args=(coming, steps), daemon=True)
        coming.thread.start()
        return coming

    def _copy(self, coming: "_Coming", steps: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        try:
            self._stream.synchronize()  # what lay in pinned memory has left it
            with torch.cuda.stream(self._stream), torch.no_grad():
                for weight, waiting, there in steps:
                    waiting.copy_(weight)
                    there.copy_(waiting, non_blocking=True)
                coming.arrived.record(self._stream)
        except Exception as error:  # noqa: BLE001 (raised where the block is asked for)
            coming.failed.append(error)


class _Coming:
    """A block on its way to the device."""

    def __init__(
        self,
        block: nn.Module,
        copies: dict[Tensor, tuple[int, Tensor]],
        arrived: torch.cuda.Event,
        failed: list[Exception],
    ) -> None:
        self.block = block
        self.copies = copies
        self.arrived = arrived
        self.failed = failed
        self.thread: threading.Thread
