"""What doit loads. This file marks the workspace: targets are declared in models/*/BUILD.py and images/*/BUILD.py.

doit tasks of your own go here, as functions named task_*; they may depend on targets by label.
"""

DOIT_CONFIG = {"minversion": "0.37.0"}
