"""Recurrences as Triton kernels: one kernel a pass for the schedules step, resident, persistent."""

from kernels.recurrence.triton_backend.launch import backward, forward

__all__ = ["backward", "forward"]
