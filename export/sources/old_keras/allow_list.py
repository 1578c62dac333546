"""Check the description of a model before Keras reads it: it may only name layers and functions of Keras itself.

Keras builds whatever classes a description names, and in HDF5 files it runs the Python code of Lambda layers whatever
its safe mode says. So every part of a description is compared with lists of names here, and refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bookserve.errors import InvalidInput


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Classes of models, which contain layers.
MODELS = frozenset({"Sequential", "Model", "Functional"})
_LAYERS = _names(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization BatchNormalizationV1
    BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose
    Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CuDNNGRU
    CuDNNLSTM Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU
    GRUCell GRUV1 GRUV2 GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D
    GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing
    Identity InputLayer IntegerLookup LSTM LSTMCell LSTMV1 LSTMV2 LayerNormalization LeakyReLU LocallyConnected1D
    LocallyConnected2D Masking MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum
    MultiHeadAttention Multiply Normalization PReLU Permute RNN RandomBrightness RandomContrast RandomCrop RandomFlip
    RandomHeight RandomRotation RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell
    SlicingOpLambda Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D StackedRNNCells StringLookup Subtract
    SyncBatchNormalization TFOpLambda TensorFlowOpLayer TextVectorization ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """
)
#: Layers that only Keras 3 has; those that load other files or unpickle (TFSMLayer, TorchModuleWrapper) are left out.
_LAYERS_OF_KERAS_3 = _names(
    """
    AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization
    GroupQueryAttention GroupedQueryAttention MaxNumBoundingBoxes MelSpectrogram MixUp Pipeline RMSNormalization
    RandAugment RandomColorDegeneration RandomColorJitter RandomElasticTransform RandomErasing RandomGaussianBlur
    RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness
    RandomShear ReversibleEmbedding STFTSpectrogram Solarization SpectralNormalization
    """
)
#: Where Keras 3 has its operators, such as ``Absolute`` of ``keras.ops.absolute(x)`` between layers; they only compute.
_OPERATOR_MODULES = re.compile(r"keras\.src\.ops\.(core|einops|image|linalg|math|nn|numpy)")
#: Except those that call a function of the user's.
_OPERATORS_WITH_CODE = _names("AssociativeScan Cond CustomGradient ForiLoop Map Scan Switch VectorizedMap WhileLoop")
_ACTIVATIONS = _names(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softmax_v2 softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
    """
)
_INITIALIZERS = _names(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal LecunUniform Ones
    Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT STFTInitializer TruncatedNormal VarianceScaling
    Zeros
    """
)
_REGULARIZERS = frozenset(
    ["L1", "L2", "L1L2", "OrthogonalRegularizer", "MaxNorm", "NonNeg", "UnitNorm", "MinMaxNorm", "RadialConstraint"]
)
#: What descriptions contain besides: how numbers are stored, and values that JSON does not have.
_VALUES = _names(
    """
    Policy PolicyV1 DTypePolicy TensorShape __tuple__ __ellipsis__ __tensor__ __numpy__ __bytes__ __keras_tensor__ slice
    __slice__
    """
)
_OF_KERAS_2 = MODELS | _LAYERS | _INITIALIZERS | _REGULARIZERS | _VALUES
_OF_KERAS_3 = _OF_KERAS_2 | _LAYERS_OF_KERAS_3
#: Where classes of Keras say that they are from, in every version.
_MODULES = re.compile(r"(keras|tf_keras|tensorflow\.(python\.)?keras|builtins)(\.[\w.]+)?")
#: What only training needs. The weights come from the file, so names of the user's own in there do not matter.
_FOR_TRAINING = re.compile(r"\w*(initializer|regularizer|constraint)")
#: Functions of TensorFlow that a model may call by name in a TFOpLambda layer: those that only compute.
_TENSORFLOW_FUNCTION = re.compile(
    r"(compat\.v1\.)?("
    r"(math|nn|linalg|signal|bitwise|strings|__operators__)\.\w+"
    r"|keras\.activations\.\w+"
    r"|image\.(resize\w*|crop_and_resize|central_crop|crop_to_bounding_box|flip_\w+|grayscale_to_rgb|rgb_to_\w+|rot90"
    r"|pad_to_bounding_box|per_image_standardization|adjust_\w+|transpose|extract_patches|hsv_to_rgb|yuv_to_rgb)"
    r"|(abs|add|add_n|argmax|argmin|argsort|batch_to_space|boolean_mask|broadcast_to|cast|clip_by_norm"
    r"|clip_by_value|concat|convert_to_tensor|cos|cosh|cumsum|divide|dynamic_partition|dynamic_stitch|einsum|ensure_shape"
    r"|equal|exp|expand_dims|eye|fill|floor|gather|gather_nd|greater|greater_equal|identity|identity_n|is_tensor|less"
    r"|less_equal|linspace|logical_and|logical_not|logical_or|matmul|maximum|meshgrid|minimum|multiply|negative|no_op|norm"
    r"|not_equal|one_hot|ones|ones_like|pad|pow|range|rank|realdiv|reduce_\w+|repeat|reshape|reverse|reverse_sequence|roll"
    r"|round|scalar_mul|scatter_nd|searchsorted|sequence_mask|shape|shape_n|sigmoid|sign|sin|sinh|size|slice|sort"
    r"|space_to_batch|space_to_batch_nd|split|sqrt|square|squeeze|stack|stop_gradient|strided_slice|subtract|switch_case"
    r"|tan|tanh|tensor_scatter_nd_\w+|tensordot|tile|top_k|transpose|truncatediv|unique|unstack|where|zeros|zeros_like)"
    r")"
)
#: Operators that a TensorFlowOpLayer (TensorFlow 2.0 to 2.3) may hold; again those that only compute.
_TENSORFLOW_OPERATOR = re.compile(
    r"(Abs|Add|AddN|AddV2|All|Any|ArgMax|ArgMin|AvgPool|BatchMatMul|BatchMatMulV2|BiasAdd|BroadcastTo|Cast|Ceil|ClipByValue"
    r"|Concat|ConcatV2|Conv2D|Cos|Cosh|Cumsum|Const|DepthToSpace|Div|DivNoNan|Einsum|Elu|Equal|Erf|Exp|ExpandDims|Expm1"
    r"|Fill|Floor|FloorDiv|FloorMod|Gather|GatherNd|GatherV2|Greater|GreaterEqual|Identity|InvertPermutation|LeakyRelu|Less"
    r"|LessEqual|Log|Log1p|LogSoftmax|LogicalAnd|LogicalNot|LogicalOr|MatMul|Max|MaxPool|Maximum|Mean|Min|Minimum|MirrorPad"
    r"|Mod|Mul|Neg|NotEqual|OneHot|OnesLike|Pack|Pad|PadV2|Pow|Prod|Range|Rank|RealDiv|Reciprocal|Relu|Relu6|Reshape"
    r"|ResizeBicubic|ResizeBilinear|ResizeNearestNeighbor|ReverseV2|Round|Rsqrt|Select|SelectV2|Selu|Shape|Sigmoid|Sign|Sin"
    r"|Sinh|Size|Slice|Softmax|Softplus|Softsign|SpaceToDepth|Split|SplitV|Sqrt|Square|SquaredDifference|Squeeze"
    r"|StopGradient|StridedSlice|Sub|Sum|Tan|Tanh|Tile|TopKV2|Transpose|TruncateDiv|Unpack|Where|Xdivy|Xlogy|ZerosLike)"
)
#: Arguments of layers that may name a file on disk, which Keras would read.
_FILE_ARGUMENTS = ("vocabulary", "idf_weights", "bin_boundaries", "file", "filepath", "path", "filename")
_ACTIVATION_ARGUMENTS = ("activation", "recurrent_activation", "inner_activation")
_MAX_DEPTH = 200
_VOCABULARY_HINT = "Give the layer its words, layer.adapt(…) or vocabulary=[…], and save the model again."
CODE_HINT = (
    "Code is not loaded from a model file, because it could do anything. Write a SavedModel where the code is "
    "available and export that directory. In Python: tf.saved_model.save(model, 'my_model'), with Keras 3 "
    "model.export('my_model'). In R: save_model_tf(model, 'my_model')."
)


def check_description(description: Any, shown: object, keras: int) -> None:
    """Refuse a model whose description names anything but layers and functions of Keras; ``keras`` is 1, 2 or 3.

    Raises:
        InvalidInput: it has code of its own, unknown classes or functions, or would read files; the message names the
            first such part.
    """
    known = _OF_KERAS_3 if keras > 2 else _OF_KERAS_2
    problem = next(_problems(description, known, keras), "")
    if problem:
        raise InvalidInput(f"{shown} needs {problem}.", CODE_HINT)


def refuse_files(description: Any, shown: object) -> None:
    """Refuse a description whose layers would read files, such as a vocabulary that is a path.

    Raises:
        InvalidInput: it names a file.
    """
    waiting = [("", description)]
    while waiting:
        key, item = waiting.pop()
        if problem := _file_problem(key, item):
            raise InvalidInput(f"{shown} needs {problem}.", _VOCABULARY_HINT)
        if isinstance(item, dict):
            waiting.extend(item.items())
        elif isinstance(item, list):
            waiting.extend((key, inner) for inner in item if isinstance(inner, (dict, list)))


def _file_problem(key: str, item: Any) -> str:
    if key in _FILE_ARGUMENTS and isinstance(item, str) and item:
        return f"the file {item!r}, which its '{key}' names"
    return ""


def _problems(item: Any, known: frozenset[str], keras: int, key: str = "", depth: int = 0) -> Iterator[str]:
    """Yield, in words, each part of a description that is refused."""
    if depth > _MAX_DEPTH:
        yield "more levels of layers in layers than Keras can build"
        return
    if isinstance(item, list):
        for inner in item:
            if isinstance(inner, (dict, list)):
                yield from _problems(inner, known, keras, key, depth + 1)
        return
    if key in _ACTIVATION_ARGUMENTS and isinstance(item, str) and item not in _ACTIVATIONS:
        yield f"the activation function '{item}', which is not part of Keras"
    if problem := _file_problem(key, item):
        yield problem
    if not isinstance(item, dict):
        return
    yield from _class_problem(item, known, key)
    for name, inner in item.items():
        if name not in ("compile_config", "training_config"):  # losses and metrics are not needed to answer
            yield from _problems(inner, known, keras, str(name), depth + 1)


def _class_problem(item: Mapping[str, Any], known: frozenset[str], key: str) -> Iterator[str]:
    kind, config = item.get("class_name"), item.get("config")
    module, registered = str(item.get("module") or ""), str(item.get("registered_name") or "")
    if kind is None and not module and not registered:
        return
    if kind in ("Lambda", "__lambda__") or _is_lambda_merge(item):
        yield "the Python code of a Lambda layer"
    elif not isinstance(kind, str):
        yield f"a class whose name is {str(kind)[:100]!r}"
    elif module and not _MODULES.fullmatch(module):
        yield f"the class '{kind}' of the module '{module}', which is not part of Keras"
    elif kind == "function":
        if (module and module != "builtins" and not module.startswith("keras")) or config not in _ACTIVATIONS:
            yield f"the function '{config}', which is not part of Keras"
    elif registered and registered.lower() not in (kind.lower(), f"keras>{kind}".lower()):
        yield f"the class '{kind}', registered as '{registered}', which is not part of Keras"
    elif known is _OF_KERAS_3 and _is_operator(kind, module):
        return
    elif kind not in known and not (_FOR_TRAINING.fullmatch(key) and not module and not registered):
        ops = "; if it is an operator of keras.ops, HDF5 does not say so, and Keras cannot read it: save it as .keras"
        yield f"the class '{kind}', which is not part of Keras{'' if module or known is not _OF_KERAS_3 else ops}"
    elif kind in ("TFOpLambda", "SlicingOpLambda") and isinstance(config, dict):
        if not _TENSORFLOW_FUNCTION.fullmatch(str(config.get("function"))):
            yield f"the function 'tf.{config.get('function')}', which may do more than compute"
    elif kind == "TensorFlowOpLayer" and isinstance(config, dict):
        operators = re.findall(r"""["']?\bop["']?:\s*["'](\w+)["']""", str(config.get("node_def")))
        if not operators or not all(_TENSORFLOW_OPERATOR.fullmatch(operator) for operator in operators):
            yield f"the operator {(operators or ['?'])[0]} of TensorFlow, which may do more than compute"


def _is_operator(kind: str, module: str) -> bool:
    """Whether it is an operator of Keras 3 that only computes; the modules have functions, too, in small letters."""
    named = _OPERATOR_MODULES.fullmatch(module) and re.fullmatch(r"[A-Z][A-Za-z0-9]*", kind)
    return bool(named) and kind not in _OPERATORS_WITH_CODE


def _is_lambda_merge(item: Mapping[str, Any]) -> bool:
    """Whether it is a Keras 1 layer ``Merge`` whose mode or shape is Python code."""
    config = item.get("config")
    if item.get("class_name") != "Merge" or not isinstance(config, dict):
        return False
    types = (config.get(name) for name in ("mode_type", "output_shape_type", "output_mask_type"))
    return any(name in ("lambda", "function") for name in types)
