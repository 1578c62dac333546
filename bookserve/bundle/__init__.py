"""Read and write bundles: directories ``models/<name>/<version>/`` for bookserve, TensorFlow Serving and Triton."""

from bookserve.bundle.bundle import MULTI_STEP as MULTI_STEP
from bookserve.bundle.bundle import Bundle as Bundle
from bookserve.bundle.bundle import model_names as model_names
from bookserve.bundle.bundle import open_bundle as open_bundle
from bookserve.bundle.bundle import publish_bundle as publish_bundle
from bookserve.bundle.bundle import summarise_bundle as summarise_bundle
from bookserve.bundle.manifest import MANIFEST as MANIFEST
from bookserve.bundle.manifest import File as File
from bookserve.bundle.manifest import Manifest as Manifest
from bookserve.bundle.publication import new_version as new_version
from bookserve.bundle.publication import seal as seal
from bookserve.bundle.publication import sha256 as sha256
from bookserve.bundle.publication import versions as versions
