"""Reads ``models.config``: TensorFlow Serving's list of models to serve, in protobuf's text format.

Source: https://www.tensorflow.org/tfx/serving/serving_config. Errors have TensorFlow Serving's messages where it has
some.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError

from bookserve.errors import InvalidInput
from serve.models.model_config import ModelConfig, VersionPolicy
from serve.protocols.tfserving.files import files_pb2 as pb
from serve.protocols.tfserving.files.text_file import read_text_file


def read_models_config(path: Path) -> list[ModelConfig]:
    """The models that a ``models.config`` lists.

    Raises:
        NotFound: no such file.
        InvalidInput: it is not a ModelServerConfig in text format, or has an entry that is not supported.
    """
    config = pb.ModelServerConfig()
    example = "model_config_list { config { name: 'digits' base_path: '/models/digits' } }"
    read_text_file(path, config, "tensorflow.serving.ModelServerConfig", example)
    return model_configs(config)


def parse_models_config(message: bytes) -> list[ModelConfig]:
    """The models of an encoded ModelServerConfig, as ``HandleReloadConfigRequest`` carries it.

    Raises:
        InvalidInput: see ``read_models_config``.
    """
    try:
        config = pb.ModelServerConfig.FromString(message)
    except DecodeError as error:
        raise InvalidInput("the config is not a ModelServerConfig message.") from error
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidInput(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    return model_configs(config)


def model_configs(config: pb.ModelServerConfig) -> list[ModelConfig]:
    """The models that a message lists.

    Raises:
        InvalidInput: there is no list, a name is missing or repeated, a base path is missing or relative, or another
            platform than TensorFlow is asked for.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidInput(
            "Invalid ServerModelConfig: it holds no model_config_list.", "A custom_model_config is not supported."
        )
    configs: dict[str, ModelConfig] = {}
    for entry in config.model_config_list.config:
        if not entry.name:
            raise InvalidInput("a model in the config list has no name.", "Give each config a name and a base_path.")
        if entry.name in configs:
            raise InvalidInput(f"Illegal to list model {entry.name} multiple times in config list")
        if entry.model_platform not in ("", "tensorflow"):
            raise InvalidInput(
                f"model '{entry.name}' has the platform '{entry.model_platform}'.", "Only 'tensorflow' is supported."
            )
        path = Path(entry.base_path)
        if not path.is_absolute():
            raise InvalidInput(
                f"Expected model {entry.name} to have an absolute path or URI; got base_path={entry.base_path}",
                "Give the absolute path of the directory that holds its versions.",
            )
        labels = dict(entry.version_labels)
        configs[entry.name] = ModelConfig(entry.name, path, _policy(entry), labels)
    return list(configs.values())


def _policy(entry: pb.ModelConfig) -> VersionPolicy:
    policy = entry.model_version_policy
    match policy.WhichOneof("policy_choice"):
        case "all":
            return VersionPolicy(latest=None)
        case "specific":
            if not policy.specific.versions:
                raise InvalidInput(f"the specific version policy of model '{entry.name}' names no versions.")
            return VersionPolicy(specific=tuple(sorted(set(policy.specific.versions))))
        case _:
            return VersionPolicy(latest=policy.latest.num_versions or 1)
