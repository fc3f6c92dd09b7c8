"""PyTorch's side of the table: eager mode, on the CPU or on the GPU.

The driver asks over stdin, one JSON object a line, with float32 values behind
it where it sends numbers; the answers go to stdout in the same form. So that
contestants can take turns, a burst of steps is timed only when it is asked for.
"""

import ctypes
import json
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    torch, missing = None, str(error)

asks, tells = sys.stdin.buffer, sys.stdout.buffer
device = "cpu"


def tell(message, tensors=()):
    tells.write(json.dumps(message).encode() + b"\n")
    for tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        tells.write(ctypes.string_at(tensor.data_ptr(), tensor.numel() * 4))
    tells.flush()


def take(*shape):
    count = 1
    for size in shape:
        count *= size
    data = bytearray(asks.read(count * 4))
    return torch.frombuffer(data, dtype=torch.float32).reshape(shape).clone().to(device)


def choose(gpu):
    """Takes the device; what is missing, or a text about it."""
    global device
    if not gpu:
        blas = "MKL" if torch.backends.mkl.is_available() else "OpenBLAS"
        if blas not in torch.__config__.show() and blas != "MKL":
            blas = "another BLAS"
        return None, f"{torch.get_num_threads()} threads, {blas}"
    # Plain float32 in products, as wgrad computes them: no TF32.
    torch.set_float32_matmul_precision("highest")
    if torch.cuda.is_available():
        device = "cuda"
        toolkit = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"HIP {torch.version.hip}"
        return None, f"{torch.cuda.get_device_name()}, {toolkit}, TF32 off"
    if torch.backends.mps.is_available():
        device = "mps"
        return None, "Metal"
    return "its torch sees no GPU", ""


class Network:
    def __init__(self, sizes, batch):
        self.x, self.y = take(batch, sizes[0]), take(batch, 1)
        self.layers = []
        for inner, outer in zip(sizes, sizes[1:]):
            weight, bias = take(outer, inner), take(outer)
            self.layers.append((weight.requires_grad_(), bias.requires_grad_()))

    def step(self):
        h = self.x
        for weight, bias in self.layers:
            weight.grad = bias.grad = None
        for weight, bias in self.layers[:-1]:
            h = F.relu(F.linear(h, weight, bias))
        loss = F.binary_cross_entropy(torch.sigmoid(F.linear(h, *self.layers[-1])), self.y)
        loss.backward()
        return loss

    def read(self, loss):
        return loss.item()

    def answer(self):
        loss = self.step()
        return [loss] + [p.grad for layer in self.layers for p in layer]


class Product:
    def __init__(self, size):
        self.a, self.b = take(size, size), take(size, size)

    def step(self):
        return torch.mm(self.a, self.b)

    def read(self, product):
        return product[0, 0].item()

    def answer(self):
        return [self.step()]


def main():
    work = None
    for line in asks:
        ask = json.loads(line)
        what = ask["do"]
        if what == "hello":
            if torch is None:
                tell({"missing": missing})
                continue
            torch.set_num_threads(ask["threads"])
            lack, text = choose(ask["gpu"])
            tell({"missing": lack} if lack else {"version": torch.__version__, "device": text})
        elif what == "network":
            work = Network(ask["sizes"], ask["batch"])
            tell({})
        elif what == "matmul":
            work = Product(ask["size"])
            tell({})
        elif what == "answer":
            values = work.answer()
            tell({"counts": [value.numel() for value in values]}, values)
        elif what == "burst":
            began = time.perf_counter()
            for _ in range(ask["reads"]):
                for _ in range(ask["steps"]):
                    result = work.step()
                work.read(result)
            tell({"seconds": time.perf_counter() - began})


main()
