"""From a policy to one ONNX file, which onnxruntime and others compute without torch and this package.

The graph is put together node by node from the networks, not traced; encoders of somebody's own alone are traced by torch.
"""
