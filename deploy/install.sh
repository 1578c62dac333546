#!/bin/sh
# Makes /opt/bookserve in an image's build stage: the environment with the packages that are named, without what only
# installs or tests packages, and with the list of what it contains (CycloneDX), sbom.cdx.json.
set -eu
python3 -m venv /opt/bookserve
/opt/bookserve/bin/pip install --quiet --constraint constraints.txt "$@"
/opt/bookserve/bin/pip uninstall --quiet --yes setuptools
/opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file /opt/bookserve/sbom.cdx.json \
  /opt/bookserve/bin/python
# pip goes last, without itself: nothing is installed in a running container.
rm -rf /opt/bookserve/lib/python3*/site-packages/pip /opt/bookserve/lib/python3*/site-packages/pip-*.dist-info \
  /opt/bookserve/bin/pip*
find /opt/bookserve -type d -name tests -prune -exec rm -rf {} +
/opt/bookserve/bin/python -m compileall -q -j 2 /opt/bookserve/lib > /dev/null || true
