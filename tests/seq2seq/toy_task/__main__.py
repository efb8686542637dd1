"""``seq2seq`` with the toy task in its registry, as a process of its own."""

import sys

from seq2seq import registry
from seq2seq.cli import main
from tests.seq2seq.toy_task.entry import ENTRY

registry.TASKS["toy"] = ENTRY
sys.exit(main())
