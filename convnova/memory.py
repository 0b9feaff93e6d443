"""Peak memory of this process."""

import re
import resource
import sys
from pathlib import Path


def peak_resident() -> int:
    """Bytes that this process held in memory at most since it was started, without those swapped out.

    On Linux VmHWM of proc(5): what `getrusage` tells there begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
