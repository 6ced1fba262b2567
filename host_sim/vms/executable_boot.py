"""The first thing that an executable runs: `executable_boot.py REQUESTS ANSWERS FOLDER_OF_SHIMS...`."""

import sys

sys.path[:] = sys.argv[3:] + [".frozen"]

import _vm  # noqa: E402

_vm.run()
