import subprocess
import sys

_CHILD = """
import sys
import dashboard.components, dashboard.further_spectra, dashboard.page, dashboard.resources, dashboard.state
import projlens_core.analyses.case.exhibit, projlens_core.analyses.case.proof
import projlens_core.analyses.spectrum.exhibit
sys.exit("transformers" in sys.modules)
"""


def test_what_pages_about_weights_import_does_not_wait_for_transformers():
    assert subprocess.run([sys.executable, "-c", _CHILD], check=False).returncode == 0
