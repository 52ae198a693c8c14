"""Training steps of a Llama in plain PyTorch, as fast as Debian's torch 1.13 allows on a CPU.

A child of training.mjs: reads calls as JSON lines, answers each with one JSON line (see ../harness/child.mjs):
  open   {folder, batches, batch, length, threads, learningRate, beta1, beta2, epsilon, weightDecay, clip}
         folder: config.json and model.safetensors (F32 or F16); batches: raw little-endian int32 token ids, each batch
         [batch, length + 1]. Starts from the folder's weights, with the forms of products that are fastest here.
  steps  {count}: trains on the next batches; answers {seconds: [...], losses: [...]} of each step.
"""

import itertools
import json
import math
import struct
import sys
import time

import numpy
import torch
import torch.nn.functional as F


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    types = {"F32": numpy.float32, "F16": numpy.float16}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        values = numpy.frombuffer(data[begin:end], dtype=types[entry["dtype"]]).astype(numpy.float32)
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]))
    return tensors


def native_linear(x, weight):
    return F.linear(x, weight)


def convolution_linear(x, weight):
    """The same product as a 1x1 convolution: torch sends float32 convolutions to oneDNN, float32 products to BLAS."""
    batch, length, width = x.shape
    y = F.conv2d(x.view(batch, length, 1, width).permute(0, 3, 1, 2), weight.view(*weight.shape, 1, 1))
    return y.permute(0, 2, 3, 1).reshape(batch, length, weight.shape[0])


def native_scores(q, k):
    return torch.bmm(q, k.transpose(1, 2))


def native_sums(weights, v):
    return torch.bmm(weights, v)


def convolution_product(a, b):
    """a [groups, rows, inner] times b [groups, columns, inner] transposed, as one grouped 1x1 convolution."""
    groups, rows, inner = a.shape
    columns = b.shape[1]
    x = a.transpose(1, 2).reshape(1, groups * inner, rows, 1)
    y = F.conv2d(x, b.reshape(groups * columns, inner, 1, 1), groups=groups)
    return y.view(groups, columns, rows).transpose(1, 2)


def convolution_sums(weights, v):
    return convolution_product(weights, v.transpose(1, 2))


LINEARS = {"blas": native_linear, "onednn": convolution_linear}
ATTENTIONS = {"blas": (native_scores, native_sums), "onednn": (convolution_product, convolution_sums)}


def random_inputs(*shapes):
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def measure(product):
    """Seconds of a product with its backward pass, best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        result = product()
        result.backward(result.detach())
        times.append(time.perf_counter() - start)
    return min(times)


class Llama:
    """Parameters are fused where a product can be shared: queries, keys and values; gate and up."""

    def __init__(self, config, tensors, batch, length):
        self.heads, self.groups = config["num_attention_heads"], config["num_key_value_heads"]
        self.head = config.get("head_dim") or config["hidden_size"] // self.heads
        self.epsilon = config["rms_norm_eps"]
        self.batch, self.length = batch, length
        parameter = lambda *names: torch.cat([tensors[f"model.{name}.weight"] for name in names]).clone().contiguous().requires_grad_()
        self.embedding = parameter("embed_tokens")
        self.norm = parameter("norm")
        self.layers = [
            {
                "norm1": parameter(f"layers.{i}.input_layernorm"),
                "qkv": parameter(*(f"layers.{i}.self_attn.{p}_proj" for p in "qkv")),
                "out": parameter(f"layers.{i}.self_attn.o_proj"),
                "norm2": parameter(f"layers.{i}.post_attention_layernorm"),
                "gate_up": parameter(f"layers.{i}.mlp.gate_proj", f"layers.{i}.mlp.up_proj"),
                "down": parameter(f"layers.{i}.mlp.down_proj"),
            }
            for i in range(config["num_hidden_layers"])
        ]
        frequencies = config["rope_theta"] ** (-torch.arange(0, self.head, 2, dtype=torch.float64) / self.head)
        angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies[None, :]
        self.cos = angles.cos().repeat(1, 2).float().view(1, length, 1, self.head)
        self.sin = torch.cat([-angles.sin(), angles.sin()], 1).float().view(1, length, 1, self.head)
        mask = torch.full((length, length), -math.inf).triu(1)
        self.mask = mask.repeat(self.heads // self.groups, 1)[None]  # rows: (query head of the group, position)

    def parameters(self):
        return [self.embedding, self.norm] + [p for layer in self.layers for p in layer.values()]

    def normalise(self, x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * weight

    def rotate(self, x):
        half = self.head // 2
        return x * self.cos + torch.cat([x[..., half:], x[..., :half]], -1) * self.sin

    def attend(self, x, layer, linear, scores_of, sums_of):
        batch, length, shared = self.batch, self.length, self.heads // self.groups
        qkv = linear(x, layer["qkv"]).view(batch, length, self.heads + 2 * self.groups, self.head)
        q, k, v = qkv.split([self.heads, self.groups, self.groups], 2)
        q = self.rotate(q * self.head**-0.5)
        k = self.rotate(k)
        # The query heads of one key-value head are stacked, so that keys and values are never copied per head.
        q = q.view(batch, length, self.groups, shared, self.head).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch * self.groups, shared * length, self.head)
        k = k.transpose(1, 2).reshape(batch * self.groups, length, self.head)
        v = v.transpose(1, 2).reshape(batch * self.groups, length, self.head)
        weights = torch.softmax(scores_of(q, k) + self.mask, -1)
        y = sums_of(weights, v).view(batch, self.groups, shared, length, self.head)
        return linear(y.permute(0, 3, 1, 2, 4).reshape(batch, length, self.heads * self.head), layer["out"])

    def loss(self, tokens, variant):
        linear, (scores_of, sums_of) = LINEARS[variant[0]], ATTENTIONS[variant[1]]
        x = F.embedding(tokens[:, :-1], self.embedding)
        for layer in self.layers:
            x = x + self.attend(self.normalise(x, layer["norm1"]), layer, linear, scores_of, sums_of)
            gate, up = linear(self.normalise(x, layer["norm2"]), layer["gate_up"]).chunk(2, -1)
            x = x + linear(F.silu(gate) * up, layer["down"])
        logits = linear(self.normalise(x, self.norm), self.embedding)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))


class Training:
    def __init__(self, options):
        torch.set_num_threads(options["threads"])
        self.options = options
        with open(f"{options['folder']}/config.json") as file:
            self.config = json.load(file)
        if not self.config["tie_word_embeddings"]:
            raise ValueError("only tied embeddings are supported")
        self.tensors = read_safetensors(f"{options['folder']}/model.safetensors")
        tokens = numpy.fromfile(options["batches"], dtype="<i4").astype(numpy.int64)
        self.batches = torch.from_numpy(tokens).view(-1, options["batch"], options["length"] + 1)
        self.variant = self.fastest_variant()
        self.start()

    def fastest_variant(self):
        """Times each form of the two kinds of product alone, forward and backward, on the step's shapes."""
        batch, length, config = self.options["batch"], self.options["length"], self.config
        width, inner = config["hidden_size"], config["intermediate_size"]
        heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
        head = config.get("head_dim") or width // heads
        x, weight = random_inputs((batch, length, width), (2 * inner, width))
        q, k, v = random_inputs((batch * groups, heads // groups * length, head), *[(batch * groups, length, head)] * 2)
        self.times = {
            "linear": {name: measure(lambda: linear(x, weight)) for name, linear in LINEARS.items()},
            "attention": {name: measure(lambda: sums(scores(q, k), v)) for name, (scores, sums) in ATTENTIONS.items()},
        }
        return [min(times, key=times.get) for times in self.times.values()]

    def start(self):
        """The folder's weights, a fresh optimiser, the first batch."""
        options = self.options
        self.next = 0
        self.model = Llama(self.config, self.tensors, options["batch"], options["length"])
        parameters = self.model.parameters()
        # Weight decay for the matrices only, as is usual. foreach: one call per operation for all parameters.
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": options["weightDecay"]},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        betas = (options["beta1"], options["beta2"])
        self.optimiser = torch.optim.AdamW(groups, lr=options["learningRate"], betas=betas, eps=options["epsilon"], foreach=True)

    def step(self):
        tokens = self.batches[self.next % len(self.batches)]
        self.next += 1
        start = time.perf_counter()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.model.loss(tokens, self.variant)
        loss.backward()
        gradients = [p.grad for p in self.model.parameters()]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, min(1.0, self.options["clip"] / (norm.item() + 1e-6)))
        self.optimiser.step()
        return time.perf_counter() - start, loss.item()


def main():
    training = None
    for line in sys.stdin:
        call = json.loads(line)
        try:
            if call["call"] == "open":
                training = Training(call)
                result = {"torch": torch.__version__, "variant": dict(zip(training.times, training.variant)), "seconds": training.times}
            elif call["call"] == "steps":
                steps = [training.step() for _ in range(call["count"])]
                result = {"seconds": [s for s, _ in steps], "losses": [l for _, l in steps]}
            else:
                raise ValueError(f"no function {call['call']!r}")
            print(json.dumps({"result": result}), flush=True)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


main()
