"""What the README shows runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_python_in_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    command = [sys.executable, "-c", "\n".join(blocks)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = [float(score) for score in done.stdout.strip("[]\n ").split()]
    assert len(scores) == 3
    # The spread of the bulk moduli is about 30 GPa: something is learnt.
    assert all(-25 < score < 0 for score in scores), scores
