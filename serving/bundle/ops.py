"""The TensorFlow operations that a served graph may contain: mathematics, images and control flow, nothing else."""

ALLOWED = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Assert AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchToSpaceND
    BiasAdd Bitcast BroadcastArgs BroadcastTo Case Cast Ceil CheckNumerics ClipByValue ConcatV2 Const Conv2D
    Conv2DBackpropInput Cos CropAndResize Cumsum DecodeAndCropJpeg DecodeJpeg DecodePng DecodeRaw DepthToSpace
    DepthwiseConv2dNative DivNoNan Einsum Elu EmptyTensorList EncodeJpegVariableQuality EncodePng EnsureShape Equal
    Erf Exp ExpandDims Expm1 ExtractJpegShape Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater
    GreaterEqual Identity IdentityN If InTopKV2 IsFinite IsInf IsNan L2Loss LeakyRelu Less LessEqual LinSpace Log
    Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LoopCond MatMul Max MaxPool MaxPoolV2 Maximum Mean Merge Min
    Minimum MirrorPad Mul MulNoNan NextIteration Neg NonMaxSuppressionV3 NonMaxSuppressionWithOverlaps NoOp NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder
    PlaceholderWithDefault Pow Prod Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape
    ResizeBicubic ResizeBilinear ResizeNearestNeighbor ResourceGather ReverseV2 Roll Round Rsqrt ScaleAndTranslate ScatterNd Select
    SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth
    Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessIf StatelessCase
    StatelessWhile StopGradient StridedSlice StringLength Sub Substr Sum Switch Tanh TensorListConcatV2
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength
    TensorListReserve TensorListResize TensorListSetItem TensorListStack TensorScatterAdd TensorScatterUpdate Tile
    TopKV2 Transpose TruncateDiv TruncateMod Unpack VarHandleOp VarIsInitializedOp Where While Xdivy Xlogy ZerosLike
    Enter Exit
    """.split()  # noqa: SIM905
)
"""Operations that a signature may reach."""

SAVER = frozenset(
    """
    AssignVariableOp Const DisableCopyOnRead Identity IdentityN MergeV2Checkpoints NoOp Pack Placeholder PlaceholderWithDefault
    ReadVariableOp RestoreV2 SaveV2 Select SelectV2 ShardedFilename StatefulPartitionedCall StaticRegexFullMatch StringJoin
    VarHandleOp VarIsInitializedOp PartitionedCall
    """.split()  # noqa: SIM905
)
"""Operations of the part that TensorFlow adds to every SavedModel to restore its variables; no signature may reach them."""
