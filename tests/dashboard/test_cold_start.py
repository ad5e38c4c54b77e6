import subprocess
import sys

_CHILD = """
import sys
import dashboard.components, dashboard.resources, dashboard.state
import projlens_core.analyses.case.exhibit, projlens_core.analyses.case.proof
sys.exit("transformers" in sys.modules)
"""


def test_what_the_first_page_imports_does_not_wait_for_transformers():
    assert subprocess.run([sys.executable, "-c", _CHILD], check=False).returncode == 0
