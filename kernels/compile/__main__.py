"""python -m kernels.compile"""

import sys

from kernels.compile import main

sys.exit(main())
