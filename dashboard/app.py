"""The dashboard's server, as `streamlit run dashboard/app.py` and `projlens dashboard` start it."""

import sys
from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `streamlit run` puts only this folder on the path
    sys.path.insert(0, str(ROOT))

from dashboard.front import Front  # noqa: E402

app = App(Path(__file__).with_name("router.py"), middleware=[Middleware(Front)])
