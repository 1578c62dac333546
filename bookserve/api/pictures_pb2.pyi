from bookserve.api import native_pb2 as _native_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TransformRequest(_message.Message):
    __slots__ = ("model", "version", "images", "params")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    images: _containers.RepeatedScalarFieldContainer[bytes]
    params: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., images: _Optional[_Iterable[bytes]] = ..., params: _Optional[str] = ...) -> None: ...

class TransformProgress(_message.Message):
    __slots__ = ("job", "state", "step", "steps", "loss", "preview", "picture", "notes")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: str
    step: int
    steps: int
    loss: float
    preview: bytes
    picture: bytes
    notes: _containers.RepeatedCompositeFieldContainer[_native_pb2.Note]
    def __init__(self, job: _Optional[str] = ..., state: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., loss: _Optional[float] = ..., preview: _Optional[bytes] = ..., picture: _Optional[bytes] = ..., notes: _Optional[_Iterable[_Union[_native_pb2.Note, _Mapping]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "version", "row", "label")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    row: _native_pb2.Row
    label: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., row: _Optional[_Union[_native_pb2.Row, _Mapping]] = ..., label: _Optional[str] = ...) -> None: ...

class FiltersRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ExplainReply(_message.Message):
    __slots__ = ("model", "version", "label", "score", "heatmap", "overlay", "notes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    HEATMAP_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    label: str
    score: float
    heatmap: _native_pb2.Tensor
    overlay: bytes
    notes: _containers.RepeatedCompositeFieldContainer[_native_pb2.Note]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., label: _Optional[str] = ..., score: _Optional[float] = ..., heatmap: _Optional[_Union[_native_pb2.Tensor, _Mapping]] = ..., overlay: _Optional[bytes] = ..., notes: _Optional[_Iterable[_Union[_native_pb2.Note, _Mapping]]] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("name", "shape", "picture")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    picture: bytes
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., picture: _Optional[bytes] = ...) -> None: ...

class ActivationsReply(_message.Message):
    __slots__ = ("model", "version", "layers", "notes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    layers: _containers.RepeatedCompositeFieldContainer[Layer]
    notes: _containers.RepeatedCompositeFieldContainer[_native_pb2.Note]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., layers: _Optional[_Iterable[_Union[Layer, _Mapping]]] = ..., notes: _Optional[_Iterable[_Union[_native_pb2.Note, _Mapping]]] = ...) -> None: ...
