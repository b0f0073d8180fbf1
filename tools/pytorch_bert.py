"""BERT for sequence classification in plain PyTorch, for machines without the transformers library.

    python tools/pytorch_bert.py        compares it with transformers, where that is installed

The architecture, the names of the parameters and the arguments of forward() are those of transformers'
BertForSequenceClassification, so that tools/bench_pytorch.py can use either. Dropout 0.1 stands where BERT has it: after
the embeddings, on attention probabilities, before both residual additions of a block, and before the classifier.
"""

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional

LAYER_NORM_EPS = 1e-12
INITIALIZER_RANGE = 0.02


class Embeddings(nn.Module):
    def __init__(self, vocab_size, hidden, dropout, max_positions=512):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(max_positions, hidden)
        self.token_type_embeddings = nn.Embedding(2, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids, token_type_ids):
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        total = (self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
                 + self.position_embeddings(positions))
        return self.dropout(self.LayerNorm(total))


class SelfAttention(nn.Module):
    def __init__(self, hidden, heads, dropout, attention):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(hidden, hidden) for _ in range(3))
        self.heads, self.dropout, self.attention = heads, dropout, attention

    def forward(self, states, bias):
        def by_head(projection):  # [batch, seq, hidden] -> [batch, heads, seq, hidden / heads]
            return projection(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, key, value = by_head(self.query), by_head(self.key), by_head(self.value)
        probability = self.dropout if self.training else 0.0
        if self.attention == "sdpa":
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=probability)
        else:
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            probs = functional.softmax(scores if bias is None else scores + bias, dim=-1)
            context = functional.dropout(probs, probability) @ value
        return context.transpose(1, 2).flatten(2)


class Output(nn.Module):
    """LayerNorm(dropout(dense(x)) + residual): the end of both halves of a block."""

    def __init__(self, size, hidden, dropout):
        super().__init__()
        self.dense = nn.Linear(size, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states, residual):
        return self.LayerNorm(self.dropout(self.dense(states)) + residual)


class Layer(nn.Module):
    def __init__(self, hidden, heads, intermediate, dropout, attention):
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(hidden, heads, dropout, attention),
                                        "output": Output(hidden, hidden, dropout)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(hidden, intermediate)})
        self.output = Output(intermediate, hidden, dropout)

    def forward(self, states, bias):
        states = self.attention["output"](self.attention["self"](states, bias), states)
        return self.output(functional.gelu(self.intermediate["dense"](states)), states)


class Classifier(nn.Module):
    """Takes batches of input_ids, attention_mask (None: no padding), token_type_ids and labels."""

    def __init__(self, layers, hidden, heads, intermediate, vocab_size, dropout, attention, num_labels=2):
        super().__init__()
        blocks = [Layer(hidden, heads, intermediate, dropout, attention) for _ in range(layers)]
        self.bert = nn.ModuleDict({"embeddings": Embeddings(vocab_size, hidden, dropout),
                                   "encoder": nn.ModuleDict({"layer": nn.ModuleList(blocks)}),
                                   "pooler": nn.ModuleDict({"dense": nn.Linear(hidden, hidden)})})
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_labels)
        self.apply(initialize)

    def forward(self, input_ids, token_type_ids, labels, attention_mask=None):
        states = self.bert["embeddings"](input_ids, token_type_ids)
        bias = None
        if attention_mask is not None:  # [batch, 1, 1, seq]: 0 for tokens, the lowest number for padding
            bias = torch.zeros(attention_mask.shape, dtype=torch.float32, device=states.device)
            bias = bias.masked_fill(attention_mask == 0, torch.finfo(torch.float32).min)[:, None, None, :]
        for layer in self.bert["encoder"]["layer"]:
            states = layer(states, bias)
        pooled = torch.tanh(self.bert["pooler"]["dense"](states[:, 0]))
        logits = self.classifier(self.dropout(pooled))
        return SimpleNamespace(loss=functional.cross_entropy(logits, labels), logits=logits)


def initialize(module):
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=INITIALIZER_RANGE)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()


class LoraLinear(nn.Module):
    """x W^T + b + (alpha / r) x A^T B^T, with W and b frozen."""

    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.scale = base, alpha / r
        self.lora_a = nn.Linear(base.in_features, r, bias=False, device=base.weight.device)
        self.lora_b = nn.Linear(r, base.out_features, bias=False, device=base.weight.device)
        nn.init.zeros_(self.lora_b.weight)

    def forward(self, inputs):
        return self.base(inputs) + self.scale * self.lora_b(self.lora_a(inputs))


def add_lora(model, r=8, alpha=16):
    """LoRA on query and value of a Classifier; what else trains is the classifier."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier."))
    for layer in model.bert["encoder"]["layer"]:
        attention = layer.attention["self"]
        attention.query = LoraLinear(attention.query, r, alpha)
        attention.value = LoraLinear(attention.value, r, alpha)
    return model


def compare_with_transformers():
    """Largest difference of logits and of gradients, on a padded batch without dropout."""
    import transformers

    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=50, num_hidden_layers=3, hidden_size=48, num_attention_heads=4, intermediate_size=80,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2, initializer_range=0.3)
    theirs = transformers.BertForSequenceClassification(config)
    ids = torch.randint(1, 50, (3, 11))
    mask = (torch.arange(11)[None, :] < torch.tensor([11, 4, 1])[:, None]).long()
    batch = {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": torch.randint(0, 2, (3, 11)) * mask,
             "labels": torch.tensor([0, 1, 1])}
    expected = theirs(**batch)
    expected.loss.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for attention in ("eager", "sdpa"):
        ours = Classifier(3, 48, 4, 80, 50, 0.0, attention)
        ours.load_state_dict(theirs.state_dict())
        found = ours(**batch)
        found.loss.backward()
        of_logits = (found.logits - expected.logits).abs().max().item()
        of_gradients = max((parameter.grad - gradients[name]).abs().max().item()
                           for name, parameter in ours.named_parameters())
        print(f"{attention}: logits differ by at most {of_logits:.1e}, gradients by {of_gradients:.1e}")
        if not (of_logits <= 1e-5 and of_gradients <= 1e-5):
            raise SystemExit("they should agree within 1e-5")


if __name__ == "__main__":
    compare_with_transformers()
