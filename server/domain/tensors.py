"""The tensor words of `runtimes`, as the rooms of the server say them."""

from runtimes.tensors import DATATYPES, VARIABLE, Array, Datatype, Tensors, TensorSpec, datatype_of

__all__ = ["DATATYPES", "VARIABLE", "Array", "Datatype", "TensorSpec", "Tensors", "datatype_of"]
