"""TensorRT, in both of its products: building engines, saying what they are, and running them.

Plain data goes in and comes out: nothing here knows of targets, doit or the store. It runs on CPython 3.10 too, the only one that
TensorRT 8.5 has a wheel for, and needs neither onnx nor numpy.
"""
